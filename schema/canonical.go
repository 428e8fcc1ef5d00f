package schema

// canonical makes a pod the one that comes back from its JSON form, so that one that was
// kept in a VM compares equal to it: an empty list and none are the same. It also says that
// a container waits for what it cannot be given.
func canonical(pod *Pod) {
	absent(&pod.Labels, &pod.Annotations)
	none(&pod.InitContainers)
	none(&pod.EmptyDirs)
	none(&pod.Volumes)
	none(&pod.Security.Sysctls)
	none(&pod.Network.HostAliases)
	none(&pod.Network.Ports)
	none(&pod.Network.DNS.Nameservers, &pod.Network.DNS.Searches, &pod.Network.DNS.Options)
	for _, list := range [][]Container{pod.InitContainers, pod.Containers} {
		for i := range list {
			list[i].canonical()
		}
	}
	for i := range pod.Volumes {
		if files := pod.Volumes[i].Files; files != nil {
			files.canonical()
		}
	}
}

func (c *Container) canonical() {
	none(&c.Command, &c.Args, &c.Unavailable, &c.Security.Add, &c.Security.Drop)
	none(&c.Env)
	none(&c.EnvFrom)
	none(&c.Mounts)
	none(&c.Security.ExtraGroups)
	for _, probe := range []*Probe{c.Liveness, c.Readiness, c.Startup} {
		if probe != nil {
			probe.canonical()
		}
	}
	for _, hook := range []*Handler{c.PostStart, c.PreStop} {
		if hook != nil {
			hook.canonical()
		}
	}
	c.Missing = c.Unavailable
}

func (h *Handler) canonical() {
	none(&h.Exec)
	if h.HTTP != nil {
		none(&h.HTTP.Headers)
	}
}

func (f *Files) canonical() {
	none(&f.Files)
	for i := range f.Sources {
		none(&f.Sources[i].Items)
	}
}

// none makes empty lists none.
func none[T any](lists ...*[]T) {
	for _, list := range lists {
		if len(*list) == 0 {
			*list = nil
		}
	}
}

// absent makes empty mappings none.
func absent(mappings ...*map[string]string) {
	for _, m := range mappings {
		if len(*m) == 0 {
			*m = nil
		}
	}
}
