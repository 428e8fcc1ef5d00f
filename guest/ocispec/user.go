package ocispec

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ErrNoUser means that the image has no such user or group.
var ErrNoUser = errors.New("no such user or group in the image")

// maxUserLine bounds a line of passwd or group; a longer one is an error.
const maxUserLine = 64 << 10

// User is who a container runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32 // further ones
	Home     string
}

// oci: the primary group is among the further ones too, so that giving it up does not get
// around files that deny it something.
func (u User) oci() specs.User {
	mask := uint32(0o022)
	groups := append([]uint32{u.GID}, u.Groups...)
	slices.Sort(groups)
	return specs.User{UID: u.UID, GID: u.GID, AdditionalGids: slices.Compact(groups), Umask: &mask}
}

// passwdEntry and groupEntry are lines of /etc/passwd and /etc/group.
type passwdEntry struct {
	name     string
	uid, gid uint32
	home     string
}

type groupEntry struct {
	name    string
	gid     uint32
	members []string
}

// ResolveUser finds who spec means: "", "user", "uid", "user:group", "uid:gid" and
// mixtures, as in an image config. passwd and group are the image's, and may be
// empty. A number need not be listed: then the group is 0 and home is /.
func ResolveUser(spec string, passwd, group io.Reader) (User, error) {
	users, err := parseLines(passwd, parsePasswd)
	if err != nil {
		return User{}, fmt.Errorf("read the image's passwd: %w", err)
	}
	groups, err := parseLines(group, parseGroup)
	if err != nil {
		return User{}, fmt.Errorf("read the image's group: %w", err)
	}
	name, groupName, hasGroup := strings.Cut(spec, ":")
	if name == "" {
		name = "0"
	}
	u := User{Home: "/"}
	uid, numeric := parseID(name)
	u.UID = uid
	i := slices.IndexFunc(users, func(e passwdEntry) bool { return e.name == name || numeric && e.uid == uid })
	switch {
	case i >= 0:
		u.UID, u.GID, u.Home = users[i].uid, users[i].gid, users[i].home
		name = users[i].name
	case !numeric:
		return User{}, fmt.Errorf("user %q: %w", name, ErrNoUser)
	}
	if hasGroup && groupName != "" {
		if u.GID, err = resolveGroup(groupName, groups); err != nil {
			return User{}, err
		}
		return u, nil
	}
	for _, g := range groups {
		if i >= 0 && slices.Contains(g.members, name) && g.gid != u.GID && !slices.Contains(u.Groups, g.gid) {
			u.Groups = append(u.Groups, g.gid)
		}
	}
	return u, nil
}

func resolveGroup(name string, groups []groupEntry) (uint32, error) {
	if gid, ok := parseID(name); ok {
		return gid, nil
	}
	for _, g := range groups {
		if g.name == name {
			return g.gid, nil
		}
	}
	return 0, fmt.Errorf("group %q: %w", name, ErrNoUser)
}

// parseID reads a user or group id. The greatest 32-bit number means "unchanged" to the kernel.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n < 1<<32-1
}

// parseLines collects what parse makes of each line; lines it does not like are skipped.
func parseLines[T any](r io.Reader, parse func(fields []string) (T, bool)) ([]T, error) {
	var out []T
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxUserLine)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if v, ok := parse(strings.Split(line, ":")); ok {
			out = append(out, v)
		}
	}
	return out, lines.Err()
}

func parsePasswd(f []string) (passwdEntry, bool) {
	if len(f) < 6 {
		return passwdEntry{}, false
	}
	uid, ok1 := parseID(f[2])
	gid, ok2 := parseID(f[3])
	home := f[5]
	if home == "" {
		home = "/"
	}
	return passwdEntry{name: f[0], uid: uid, gid: gid, home: home}, ok1 && ok2 && f[0] != ""
}

func parseGroup(f []string) (groupEntry, bool) {
	if len(f) < 4 {
		return groupEntry{}, false
	}
	gid, ok := parseID(f[2])
	return groupEntry{name: f[0], gid: gid, members: strings.Split(f[3], ",")}, ok && f[0] != ""
}
