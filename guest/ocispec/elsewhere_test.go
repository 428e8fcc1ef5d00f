package ocispec

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func TestUserElsewhere(t *testing.T) {
	for _, c := range []struct {
		user     string
		security *agentpb.SecurityContext
		uid, gid uint32
		name     string
		err      error
	}{
		{user: ""},
		{user: "app", uid: nobody, gid: nobody, name: "app"},
		{user: "1000:users", uid: 1000, gid: nobody, name: "1000:users"},
		{user: "1000", uid: 1000, name: "1000"},
		{user: "1000:100", uid: 1000, gid: 100, name: "1000:100"},
		{user: "app:users", security: &agentpb.SecurityContext{Group: proto.Int64(7)}, uid: nobody, gid: 7, name: "app:7"},
		{user: "", security: &agentpb.SecurityContext{Group: proto.Int64(7)}, gid: 7},
		{user: "app", security: &agentpb.SecurityContext{User: proto.Int64(5)}, uid: 5, name: "5"},
		{user: "app", security: &agentpb.SecurityContext{NonRoot: true}, err: ErrNeedsImage},
		{user: "0", security: &agentpb.SecurityContext{NonRoot: true}, err: ErrRoot},
		{user: "", security: &agentpb.SecurityContext{NonRoot: true}, err: ErrRoot},
		{user: "1000:100", security: &agentpb.SecurityContext{NonRoot: true, StrictGroups: true}, uid: 1000, gid: 100},
		{user: "1000", security: &agentpb.SecurityContext{StrictGroups: true}, err: ErrNeedsImage},
		{user: "app:100", security: &agentpb.SecurityContext{StrictGroups: true}, err: ErrNeedsImage},
		{user: "1000", security: &agentpb.SecurityContext{StrictGroups: true, Group: proto.Int64(9)}, uid: 1000, gid: 9},
	} {
		who, name, err := userElsewhere(&agentpb.ContainerSpec{User: c.user, Security: c.security})
		if !errors.Is(err, c.err) || err == nil && (who.UID != c.uid || who.GID != c.gid || name != c.name) {
			t.Errorf("%q %v: %d:%d %q %v, want %d:%d %q %v", c.user, c.security, who.UID, who.GID, name, err, c.uid, c.gid, c.name, c.err)
		}
	}
}

func TestElsewhereGroups(t *testing.T) {
	for _, c := range []struct {
		user  string
		extra []int64
		want  []uint32
	}{
		{user: "app"}, {user: "1000"}, {user: "app", extra: []int64{5}, want: []uint32{5}}, {user: "", want: []uint32{0}},
	} {
		spec, err := Elsewhere(Input{Container: &agentpb.ContainerSpec{
			Argv: []string{"a"}, User: c.user, Security: &agentpb.SecurityContext{ExtraGroups: c.extra},
		}})
		if err != nil || !slices.Equal(spec.Process.User.AdditionalGids, c.want) {
			t.Errorf("%q with %v: groups %v %v, want %v", c.user, c.extra, spec.Process.User.AdditionalGids, err, c.want)
		}
	}
}
