package drivertest

import (
	"errors"
	"hash/crc32"
	"io"
	"os"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// bring makes a template visible in the guest. Where the driver attaches no disk to a running
// machine, the agent has to take it, unless it had it in the boot before.
func bring(t *testing.T, m driver.Machine, d driver.Disk, had bool) {
	t.Helper()
	err := m.AttachDisk(call(t), d)
	if err != nil && !errors.Is(err, driver.ErrUnsupported) {
		t.Fatal(err)
	}
	if err == nil {
		return
	}
	for _, existed := range []bool{had, true} {
		if got := sendImage(t, m, d); got != existed {
			t.Errorf("the agent says that it had the image: %v, want %v", got, existed)
		}
	}
}

// sendImage sends a whole image to the agent; it tells whether the agent had it.
func sendImage(t *testing.T, m driver.Machine, d driver.Disk) bool {
	t.Helper()
	content, err := os.ReadFile(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := client(m).AddImage(call(t))
	if err != nil {
		t.Fatal(err)
	}
	const part = 1 << 20
	size := int64(len(content))
	messages := []*agentpb.AddImageRequest{{Message: &agentpb.AddImageRequest_Image_{
		Image: &agentpb.AddImageRequest_Image{Disk: d.ID, SizeBytes: size, StoredBytes: size},
	}}}
	for at := int64(0); at < size; at += part {
		messages = append(messages, &agentpb.AddImageRequest{Message: &agentpb.AddImageRequest_Part_{
			Part: &agentpb.AddImageRequest_Part{Offset: at, Data: content[at:min(at+part, size)]},
		}})
	}
	messages = append(messages, &agentpb.AddImageRequest{Message: &agentpb.AddImageRequest_End_{
		End: &agentpb.AddImageRequest_End{Bytes: size, Crc32C: crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli))},
	}})
	for _, message := range messages {
		if err := s.Send(message); errors.Is(err, io.EOF) {
			break // its answer is there
		} else if err != nil {
			t.Fatal(err)
		}
	}
	answer, err := s.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetExisted()
}
