package runtime

import (
	"encoding/binary"
	"testing"
)

// interpret runs a program as the kernel would.
func interpret(t *testing.T, program []byte, kind, access, major, minor uint32) bool {
	t.Helper()
	var reg [11]int64
	input := []uint32{access<<16 | kind, major, minor}
	for pc := 0; ; pc++ {
		at := program[pc*instructionSize:]
		dst, src := at[1]&0xf, at[1]>>4
		off := int16(binary.NativeEndian.Uint16(at[2:]))
		imm := int64(int32(binary.NativeEndian.Uint32(at[4:])))
		switch at[0] {
		case opLoadWord:
			if src != regInput {
				t.Fatal("load from somewhere else")
			}
			reg[dst] = int64(input[off/4])
		case opMove:
			reg[dst] = reg[src]
		case opMoveConst:
			reg[dst] = imm
		case opAndConst:
			reg[dst] &= imm
		case opShiftRight:
			reg[dst] >>= imm
		case opJumpUnequal:
			if reg[dst] != imm {
				pc += int(off)
			}
		case opExit:
			return reg[regResult] == 1
		default:
			t.Fatalf("instruction %#x", at[0])
		}
	}
}

func TestDeviceProgram(t *testing.T) {
	program := deviceProgram(allowedDevices())
	for _, tt := range []struct {
		name                       string
		kind, access, major, minor uint32
		want                       bool
	}{
		{"read null", devChar, devRead, 1, 3, true},
		{"read and write urandom", devChar, devRead | devWrite, 1, 9, true},
		{"write a pseudo-terminal", devChar, devWrite, 136, 17, true},
		{"make any node", devBlock, devMknod, 8, 0, true},
		{"make and read one", devBlock, devMknod | devRead, 8, 0, false},
		{"read a disk", devBlock, devRead, 8, 0, false},
		{"read a disk with the numbers of null", devBlock, devRead, 1, 3, false},
		{"read memory", devChar, devRead, 1, 1, false},
		{"write the console", devChar, devWrite, 5, 1, false},
		{"open a virtio port", devChar, devRead | devWrite, 242, 1, false},
		{"write the kernel's log", devChar, devWrite, 1, 11, false},
	} {
		if got := interpret(t, program, tt.kind, tt.access, tt.major, tt.minor); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if interpret(t, deviceProgram(nil), devChar, devRead, 1, 3) {
		t.Error("no rule allows something")
	}
}
