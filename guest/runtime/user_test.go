package runtime

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	testPasswd = `# users
root:x:0:0:root:/root:/bin/sh
app:x:1000:100:app:/home/app:/bin/sh

nohome:x:1001:1001::
broken:x:many:0:::
short:x:5
huge:x:4294967295:0::/:
`
	testGroup = `root:x:0:
users:x:100:app
audio:x:29:other,app
video:x:44:app
app:x:1000:
`
)

func TestResolveUser(t *testing.T) {
	for _, tt := range []struct {
		spec string
		want user
		err  error
	}{
		{"", user{home: "/root"}, nil},
		{"root", user{home: "/root"}, nil},
		{"app", user{uid: 1000, gid: 100, groups: []uint32{29, 44}, home: "/home/app"}, nil},
		{"1000", user{uid: 1000, gid: 100, groups: []uint32{29, 44}, home: "/home/app"}, nil},
		{"app:audio", user{uid: 1000, gid: 29, home: "/home/app"}, nil},
		{"1000:7", user{uid: 1000, gid: 7, home: "/home/app"}, nil},
		{"4711", user{uid: 4711, home: "/"}, nil},
		{"4711:4712", user{uid: 4711, gid: 4712, home: "/"}, nil},
		{"nohome", user{uid: 1001, gid: 1001, home: "/"}, nil},
		{"nobody", user{}, ErrNoUser},
		{"app:nogroup", user{}, ErrNoUser},
		{"broken", user{}, ErrNoUser},
		{"4294967295", user{}, ErrNoUser},
		{"huge", user{}, ErrNoUser},
		{"-1", user{}, ErrNoUser},
	} {
		t.Run(tt.spec, func(t *testing.T) {
			got, err := resolveUser(tt.spec, strings.NewReader(testPasswd), strings.NewReader(testGroup))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(user{})); err == nil && d != "" {
				t.Error(d)
			}
		})
	}
}

func TestResolveUserWithoutFiles(t *testing.T) {
	got, err := resolveUser("65532", strings.NewReader(""), strings.NewReader(""))
	if err != nil || got.uid != 65532 || got.gid != 0 || got.home != "/" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzResolveUser(f *testing.F) {
	f.Add("app:audio", testPasswd, testGroup)
	f.Add("0", "", ":::")
	f.Fuzz(func(t *testing.T, spec, passwd, group string) {
		u, err := resolveUser(spec, strings.NewReader(passwd), strings.NewReader(group))
		if err == nil && (u.uid == 1<<32-1 || u.gid == 1<<32-1 || u.home == "") {
			t.Errorf("resolved to %+v", u)
		}
	})
}
