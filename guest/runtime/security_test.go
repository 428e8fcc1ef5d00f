package runtime

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
		want    user
		err     error
	}{
		"nothing said": {"app", nil, nil, user{uid: 1000, gid: 100, groups: []uint32{29, 44}, home: "/home/app"}, nil},
		"another user": {"root", &agentpb.SecurityContext{User: id(1000)}, nil,
			user{uid: 1000, gid: 100, groups: []uint32{29, 44}, home: "/home/app"}, nil},
		"one not listed": {"app:audio", &agentpb.SecurityContext{User: id(4711)}, nil, user{uid: 4711, home: "/"}, nil},
		"another group": {"app:audio", &agentpb.SecurityContext{Group: id(7)}, nil,
			user{uid: 1000, gid: 7, groups: []uint32{29, 44}, home: "/home/app"}, nil},
		"more groups": {"4711:4712", &agentpb.SecurityContext{ExtraGroups: []int64{1, 2}}, &group,
			user{uid: 4711, gid: 4712, groups: []uint32{1, 2, 4000}, home: "/"}, nil},
		"only those that are named": {"app", &agentpb.SecurityContext{ExtraGroups: []int64{1}, StrictGroups: true}, nil,
			user{uid: 1000, gid: 100, groups: []uint32{1}, home: "/home/app"}, nil},
		"not root":             {"app", &agentpb.SecurityContext{NonRoot: true}, nil, user{uid: 1000, gid: 100, groups: []uint32{29, 44}, home: "/home/app"}, nil},
		"root":                 {"", &agentpb.SecurityContext{NonRoot: true}, nil, user{}, ErrRoot},
		"root by number":       {"app", &agentpb.SecurityContext{NonRoot: true, User: id(0)}, nil, user{}, ErrRoot},
		"a negative user":      {"", &agentpb.SecurityContext{User: id(-1)}, nil, user{}, ErrNoUser},
		"a user past 32 bits":  {"", &agentpb.SecurityContext{User: id(1 << 32)}, nil, user{}, ErrNoUser},
		"a group past 32 bits": {"", &agentpb.SecurityContext{Group: id(math.MaxUint32)}, nil, user{}, agent.ErrInvalid},
		"a negative group":     {"", &agentpb.SecurityContext{ExtraGroups: []int64{-1}}, nil, user{}, agent.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := resolveUser(userSpec(tt.image, tt.s), strings.NewReader(testPasswd), strings.NewReader(testGroup))
			if err == nil {
				got, err = got.withSecurity(tt.s, tt.fsGroup)
			}
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(user{})); err == nil && d != "" {
				t.Error(d)
			}
		})
	}
	if !errors.Is(ErrRoot, agent.ErrInvalid) {
		t.Error("ErrRoot is of no class that the agent knows")
	}
}

func TestUserHasItsPrimaryGroup(t *testing.T) {
	got := user{gid: 5, groups: []uint32{9, 5, 1}}.oci()
	if d := cmp.Diff([]uint32{1, 5, 9}, got.AdditionalGids); d != "" {
		t.Error(d)
	}
}
