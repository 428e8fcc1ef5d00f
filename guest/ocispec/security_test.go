package ocispec

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func TestCapabilities(t *testing.T) {
	without := func(names ...string) []string {
		var list []string
		for _, c := range defaultCapabilities() {
			if !strings.Contains(strings.Join(names, " "), c) {
				list = append(list, c)
			}
		}
		return list
	}
	for name, tt := range map[string]struct {
		add, drop []string
		want      []string
		count     int // instead of want
	}{
		"defaults":             {want: defaultCapabilities()},
		"one more, twice":      {add: []string{"SYS_TIME", "CAP_SYS_TIME"}, want: append(defaultCapabilities(), "CAP_SYS_TIME")},
		"in lower case":        {drop: []string{"cap_chown"}, want: without("CAP_CHOWN")},
		"none":                 {drop: []string{"ALL"}, count: 0},
		"none but one":         {add: []string{"KILL"}, drop: []string{"all"}, want: []string{"CAP_KILL"}},
		"all":                  {add: []string{"ALL"}, count: 41},
		"all but one":          {add: []string{"ALL"}, drop: []string{"SYS_ADMIN"}, count: 40},
		"dropping is the last": {add: []string{"SYS_TIME"}, drop: []string{"SYS_TIME"}, want: defaultCapabilities()},
		"none is after all":    {add: []string{"ALL"}, drop: []string{"ALL"}, count: 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := capabilities(&agentpb.SecurityContext{AddCapabilities: tt.add, DropCapabilities: tt.drop})
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == nil {
				if len(got) != tt.count {
					t.Errorf("%d capabilities, want %d: %v", len(got), tt.count, got)
				}
			} else if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
	for _, s := range []*agentpb.SecurityContext{{AddCapabilities: []string{"FLY"}}, {DropCapabilities: []string{""}}} {
		if _, err := resolveSecurity(s); !errors.Is(err, agent.ErrInvalid) {
			t.Errorf("%v: %v", s, err)
		}
	}
}

func TestWithSecurity(t *testing.T) {
	id := proto.Int64
	group := 4000
	for name, tt := range map[string]struct {
		image   string
		s       *agentpb.SecurityContext
		fsGroup *int
		want    User
		err     error
	}{
		"nothing said": {"app", nil, nil, User{UID: 1000, GID: 100, Groups: []uint32{29, 44}, Home: "/home/app"}, nil},
		"another user": {"root", &agentpb.SecurityContext{User: id(1000)}, nil,
			User{UID: 1000, GID: 100, Groups: []uint32{29, 44}, Home: "/home/app"}, nil},
		"one not listed": {"app:audio", &agentpb.SecurityContext{User: id(4711)}, nil, User{UID: 4711, Home: "/"}, nil},
		"another group": {"app:audio", &agentpb.SecurityContext{Group: id(7)}, nil,
			User{UID: 1000, GID: 7, Groups: []uint32{29, 44}, Home: "/home/app"}, nil},
		"more groups": {"4711:4712", &agentpb.SecurityContext{ExtraGroups: []int64{1, 2}}, &group,
			User{UID: 4711, GID: 4712, Groups: []uint32{1, 2, 4000}, Home: "/"}, nil},
		"only those that are named": {"app", &agentpb.SecurityContext{ExtraGroups: []int64{1}, StrictGroups: true}, nil,
			User{UID: 1000, GID: 100, Groups: []uint32{1}, Home: "/home/app"}, nil},
		"not root":             {"app", &agentpb.SecurityContext{NonRoot: true}, nil, User{UID: 1000, GID: 100, Groups: []uint32{29, 44}, Home: "/home/app"}, nil},
		"root":                 {"", &agentpb.SecurityContext{NonRoot: true}, nil, User{}, ErrRoot},
		"root by number":       {"app", &agentpb.SecurityContext{NonRoot: true, User: id(0)}, nil, User{}, ErrRoot},
		"a negative user":      {"", &agentpb.SecurityContext{User: id(-1)}, nil, User{}, ErrNoUser},
		"a user past 32 bits":  {"", &agentpb.SecurityContext{User: id(1 << 32)}, nil, User{}, ErrNoUser},
		"a group past 32 bits": {"", &agentpb.SecurityContext{Group: id(math.MaxUint32)}, nil, User{}, agent.ErrInvalid},
		"a negative group":     {"", &agentpb.SecurityContext{ExtraGroups: []int64{-1}}, nil, User{}, agent.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ResolveUser(UserSpec(tt.image, tt.s), strings.NewReader(testPasswd), strings.NewReader(testGroup))
			if err == nil {
				got, err = got.WithSecurity(tt.s, tt.fsGroup)
			}
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if d := cmp.Diff(tt.want, got); err == nil && d != "" {
				t.Error(d)
			}
		})
	}
	if !errors.Is(ErrRoot, agent.ErrInvalid) {
		t.Error("ErrRoot is of no class that the agent knows")
	}
}

func TestUserHasItsPrimaryGroup(t *testing.T) {
	got := User{GID: 5, Groups: []uint32{9, 5, 1}}.oci()
	if d := cmp.Diff([]uint32{1, 5, 9}, got.AdditionalGids); d != "" {
		t.Error(d)
	}
}
