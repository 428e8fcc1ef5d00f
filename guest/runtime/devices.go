package runtime

import (
	"encoding/binary"
	"math/bits"
)

// Kinds of devices and of access, from linux/bpf.h (BPF_DEVCG_*).
const (
	devBlock = 1
	devChar  = 2

	devMknod = 1
	devRead  = 2
	devWrite = 4
	devAll   = devMknod | devRead | devWrite
)

// anyNumber stands for every major or minor number.
const anyNumber = -1

// deviceRule allows some access to some devices.
type deviceRule struct {
	kind         int32
	major, minor int32
	access       int32
}

// allowedDevices are all a container can use: neither the link's port, the console
// nor a disk can be opened, even through a node made with CAP_MKNOD.
func allowedDevices() []deviceRule {
	return []deviceRule{
		{devChar, anyNumber, anyNumber, devMknod}, // making a node opens nothing
		{devBlock, anyNumber, anyNumber, devMknod},
		{devChar, 1, 3, devAll},           // null
		{devChar, 1, 5, devAll},           // zero
		{devChar, 1, 7, devAll},           // full
		{devChar, 1, 8, devAll},           // random
		{devChar, 1, 9, devAll},           // urandom
		{devChar, 5, 0, devAll},           // tty
		{devChar, 5, 2, devAll},           // ptmx
		{devChar, 136, anyNumber, devAll}, // pseudo-terminals
	}
}

// Registers of the program.
const (
	regResult = 0 // at the end: 1 allows
	regInput  = 1 // at the start: struct bpf_cgroup_dev_ctx
	regKind   = 2
	regAccess = 3
	regMajor  = 4
	regMinor  = 5
	regRest   = 6
)

// Instructions of BPF, from the kernel's Documentation/bpf/instruction-set.rst.
const (
	opLoadWord    = 0x61 // dst = *(u32 *)(src + off)
	opMove        = 0xbf // dst = src
	opMoveConst   = 0xb7 // dst = imm
	opAndConst    = 0x57 // dst &= imm
	opShiftRight  = 0x77 // dst >>= imm
	opJumpUnequal = 0x55 // if dst != imm, skip off instructions
	opExit        = 0x95
)

// instructionSize is that of struct bpf_insn.
const instructionSize = 8

type instruction struct {
	op       uint8
	dst, src uint8
	off      int16
	imm      int32
}

// deviceProgram makes a BPF program of type BPF_PROG_TYPE_CGROUP_DEVICE that
// allows what one of the rules allows, and nothing else.
func deviceProgram(rules []deviceRule) []byte {
	program := []instruction{
		{op: opLoadWord, dst: regKind, src: regInput}, // access << 16 | kind
		{op: opMove, dst: regAccess, src: regKind},
		{op: opAndConst, dst: regKind, imm: 0xffff},
		{op: opShiftRight, dst: regAccess, imm: 16},
		{op: opLoadWord, dst: regMajor, src: regInput, off: 4},
		{op: opLoadWord, dst: regMinor, src: regInput, off: 8},
	}
	for _, r := range rules {
		program = append(program, r.compile()...)
	}
	program = append(program, instruction{op: opMoveConst, dst: regResult, imm: 0}, instruction{op: opExit})
	var out []byte
	for _, i := range program {
		out = append(out, i.op, i.src<<4|i.dst)
		out = binary.NativeEndian.AppendUint16(out, uint16(i.off))
		out = binary.NativeEndian.AppendUint32(out, uint32(i.imm))
	}
	return out
}

// compile makes the instructions that allow what the rule allows, and go on behind
// themselves otherwise.
func (r deviceRule) compile() []instruction {
	code := []instruction{{op: opJumpUnequal, dst: regKind, imm: r.kind}}
	if r.major != anyNumber {
		code = append(code, instruction{op: opJumpUnequal, dst: regMajor, imm: r.major})
	}
	if r.minor != anyNumber {
		code = append(code, instruction{op: opJumpUnequal, dst: regMinor, imm: r.minor})
	}
	if bits.OnesCount32(uint32(r.access)) != bits.OnesCount32(devAll) {
		code = append(code, instruction{op: opMove, dst: regRest, src: regAccess},
			instruction{op: opAndConst, dst: regRest, imm: devAll &^ r.access},
			instruction{op: opJumpUnequal, dst: regRest, imm: 0})
	}
	code = append(code, instruction{op: opMoveConst, dst: regResult, imm: 1}, instruction{op: opExit})
	for i := range code {
		if code[i].op == opJumpUnequal {
			code[i].off = int16(len(code) - i - 1)
		}
	}
	return code
}
