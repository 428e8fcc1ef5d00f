package shim

import (
	"strings"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func TestFrugalCodec(t *testing.T) {
	largest := &agentpb.PodState{Pod: &agentpb.PodIdentity{Uid: "u", Manifest: make([]byte, 1<<20)}}
	for range 512 {
		c := &agentpb.ContainerState{Name: "c", StartedAt: timestamppb.Now(), FinishedAt: timestamppb.Now()}
		for range 8 {
			c.Runs = append(c.Runs, &agentpb.Run{StartedAt: timestamppb.Now(), FinishedAt: timestamppb.Now()})
		}
		for range 3 {
			c.Probes = append(c.Probes, &agentpb.ProbeState{At: timestamppb.Now()})
		}
		largest.Containers = append(largest.Containers, c)
	}
	wide := &agentpb.PodState{}
	for range maxParts + 1 {
		wide.Containers = append(wide.Containers, &agentpb.ContainerState{})
	}
	within := &agentpb.ContainerState{}
	for range maxParts {
		within.Runs = append(within.Runs, &agentpb.Run{})
	}
	tests := map[string]struct {
		m       proto.Message
		refused bool
	}{
		"none":        {&agentpb.PodState{}, false},
		"the largest": {largest, false},
		"wide":        {wide, true},
		"within":      {&agentpb.PodState{Containers: []*agentpb.ContainerState{within}}, true},
		"bytes":       {&agentpb.OutputChunk{Data: make([]byte, 4*maxParts)}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := proto.Marshal(tt.m)
			if err != nil {
				t.Fatal(err)
			}
			half := len(data) / 2
			got := tt.m.ProtoReflect().New().Interface()
			err = newFrugalCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(data[:half]), mem.SliceBuffer(data[half:])}, got)
			switch {
			case tt.refused && (err == nil || !strings.Contains(err.Error(), "more than 32768 parts")):
				t.Errorf("err = %v", err)
			case !tt.refused && (err != nil || !proto.Equal(got, tt.m)):
				t.Errorf("it is another message, or: %v", err)
			}
		})
	}
}

// FuzzFrugalCodec: what it takes is what protobuf takes.
func FuzzFrugalCodec(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x2a, 0x00, 0x2a, 0x02, 0x82, 0x01, 0x00})
	f.Fuzz(func(t *testing.T, data []byte) {
		left := spend(maxParts, (&agentpb.PodState{}).ProtoReflect().Descriptor(), data)
		if left > maxParts {
			t.Errorf("%d parts are left of %d", left, maxParts)
		}
		err := proto.Unmarshal(data, &agentpb.PodState{})
		got := newFrugalCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, &agentpb.PodState{})
		if len(data) <= maxParts && (err == nil) != (got == nil) {
			t.Errorf("protobuf: %v, here: %v", err, got)
		}
	})
}
