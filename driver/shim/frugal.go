package shim

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxParts bounds how many messages and list entries a message of a guest's may consist
// of: an empty one is two bytes on the wire and hundreds in memory. The largest pod that is
// taken at all, of 512 containers with all their probes and runs, has 18,000.
const maxParts = 1 << 15

// frugalCodec is protobuf's, and refuses what would take far more memory than its size says
// before it takes any.
type frugalCodec struct{ encoding.CodecV2 }

func newFrugalCodec() frugalCodec { return frugalCodec{encoding.GetCodecV2("proto")} }

// Unmarshal implements encoding.CodecV2.
func (c frugalCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(proto.Message); ok && data.Len() > maxParts {
		buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer buf.Free()
		if left := spend(maxParts, m.ProtoReflect().Descriptor(), buf.ReadOnlyData()); left < 0 {
			return fmt.Errorf("decode %T of %d bytes: it has more than %d parts", v, data.Len(), maxParts)
		}
	}
	return c.CodecV2.Unmarshal(data, v)
}

// spend returns how many of so many parts are left after those of an encoded message, less
// than 0 if there are not enough. What is malformed is left to the decoder.
func spend(left int, desc protoreflect.MessageDescriptor, b []byte) int {
	for len(b) > 0 && left >= 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return left
		}
		value := protowire.ConsumeFieldValue(num, kind, b[n:])
		if value < 0 {
			return left
		}
		field := desc.Fields().ByNumber(num)
		text := b[n : n+value]
		b = b[n+value:]
		if field == nil || field.Message() == nil && !field.IsList() {
			continue
		}
		left--
		if kind != protowire.BytesType {
			continue
		}
		inner, _ := protowire.ConsumeBytes(text)
		switch {
		case field.Message() != nil:
			left = spend(left, field.Message(), inner)
		case field.Kind() != protoreflect.StringKind && field.Kind() != protoreflect.BytesKind:
			left -= len(inner) // packed: a byte or more each
		}
	}
	return left
}
