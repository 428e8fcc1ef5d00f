package ocispec

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
		want User
		err  error
	}{
		{"", User{Home: "/root"}, nil},
		{"root", User{Home: "/root"}, nil},
		{"app", User{UID: 1000, GID: 100, Groups: []uint32{29, 44}, Home: "/home/app"}, nil},
		{"1000", User{UID: 1000, GID: 100, Groups: []uint32{29, 44}, Home: "/home/app"}, nil},
		{"app:audio", User{UID: 1000, GID: 29, Home: "/home/app"}, nil},
		{"1000:7", User{UID: 1000, GID: 7, Home: "/home/app"}, nil},
		{"4711", User{UID: 4711, Home: "/"}, nil},
		{"4711:4712", User{UID: 4711, GID: 4712, Home: "/"}, nil},
		{"nohome", User{UID: 1001, GID: 1001, Home: "/"}, nil},
		{"nobody", User{}, ErrNoUser},
		{"app:nogroup", User{}, ErrNoUser},
		{"broken", User{}, ErrNoUser},
		{"4294967295", User{}, ErrNoUser},
		{"huge", User{}, ErrNoUser},
		{"-1", User{}, ErrNoUser},
	} {
		t.Run(tt.spec, func(t *testing.T) {
			got, err := ResolveUser(tt.spec, strings.NewReader(testPasswd), strings.NewReader(testGroup))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if d := cmp.Diff(tt.want, got); err == nil && d != "" {
				t.Error(d)
			}
		})
	}
}

func TestResolveUserWithoutFiles(t *testing.T) {
	got, err := ResolveUser("65532", strings.NewReader(""), strings.NewReader(""))
	if err != nil || got.UID != 65532 || got.GID != 0 || got.Home != "/" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzResolveUser(f *testing.F) {
	f.Add("app:audio", testPasswd, testGroup)
	f.Add("0", "", ":::")
	f.Fuzz(func(t *testing.T, spec, passwd, group string) {
		u, err := ResolveUser(spec, strings.NewReader(passwd), strings.NewReader(group))
		if err == nil && (u.UID == 1<<32-1 || u.GID == 1<<32-1 || u.Home == "") {
			t.Errorf("resolved to %+v", u)
		}
	})
}
