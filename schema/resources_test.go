package schema

import "testing"

func TestStoreHasRoomForItsEmptyDirs(t *testing.T) {
	for _, c := range []struct {
		dirs []EmptyDir
		want int64
	}{
		{nil, 10 << 30},
		{[]EmptyDir{{SizeLimitBytes: 4 << 30}}, 10 << 30},
		{[]EmptyDir{{SizeLimitBytes: 5 << 30}, {SizeLimitBytes: 1}}, 13 << 30},
		{[]EmptyDir{{SizeLimitBytes: 50 << 30, Medium: MediumMemory}}, 10 << 30},
		{[]EmptyDir{{SizeLimitBytes: 1 << 62}, {SizeLimitBytes: 1 << 62}}, maxStoreBytes},
	} {
		if got := storeFor(&Pod{EmptyDirs: c.dirs}); got != c.want {
			t.Errorf("%+v: %d, want %d", c.dirs, got, c.want)
		}
	}
}
