package reconcile

import (
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// seen is what the model makes of one pod, changed.
func seen(b box, f func(*schema.PodStatus)) schema.ActualState {
	return change(converged(b), func(a *schema.ActualState) { f(a.Pods[0]) })
}

// with changes a box.
func with(b box, f func(*box)) box { return change(b, f) }

func volumeScenarios() []scenario {
	web := box{name: "web", containers: []string{"a=i:1", "b=i:1"}, volumes: []string{"cfg=files:1", "data=claim:1"}}
	initialised := with(web, func(b *box) { b.inits, b.volumes = []string{"x=i:1"}, []string{"scratch=ephemeral:1"} })
	volumes := func(list ...string) schema.DesiredState { return pods(with(web, func(b *box) { b.volumes = list })) }
	hostPath := func(path string) schema.DesiredState {
		return change(pods(web), func(d *schema.DesiredState) {
			d.Pods[0].Volumes = append(d.Pods[0].Volumes, schema.Volume{Name: "host", HostPath: &schema.HostPath{Path: path}})
		})
	}
	made := func(d schema.DesiredState) schema.ActualState {
		m := newModel(schema.ActualState{Known: true}, now.Add(-time.Hour))
		for range previewRounds {
			for _, a := range Diff(d, m.state(), Policy{}, now).Actions {
				m.apply(a)
			}
		}
		return m.state()
	}
	return []scenario{
		{"fresh pod with volumes", pods(web), schema.ActualState{Known: true}, Policy{}},
		{"volumes as they should be", pods(web), converged(web), Policy{}},
		{"files of a volume changed", volumes("cfg=files:2", "data=claim:1"), converged(web), Policy{}},
		{"a claim grew", volumes("cfg=files:1", "data=claim:2"), converged(web), Policy{}},
		{"another kind of volume", volumes("cfg=image:x", "data=claim:1"), converged(web), Policy{}},
		{"a volume became an emptyDir", volumes("cfg=Memory", "data=claim:1"), converged(web), Policy{}},
		{"an emptyDir became a volume", pods(web), converged(with(web, func(b *box) { b.volumes = []string{"cfg=", "data=claim:1"} })), Policy{}},
		{"a volume is gone", volumes("data=claim:1"), converged(web), Policy{}},
		{"a new volume", volumes("cfg=files:1", "data=claim:1", "img=image:x"), converged(web), Policy{}},
		{"an ephemeral volume under an init container", pods(with(initialised, func(b *box) { b.volumes = []string{"scratch=ephemeral:2"} })), converged(initialised), Policy{}},
		{"a host directory changed", hostPath("/new"), made(hostPath("/old")), Policy{}},
		{"a volume that cannot be made holds its containers", pods(web), seen(web, func(s *schema.PodStatus) {
			p := web.pod()
			s.Containers, s.Volumes = nil, s.Volumes[:1]
			s.Failures = []schema.Failure{{Kind: "volume", Name: "data", Digest: p.Volumes[1].Digest(), Attempts: 1, At: now, Reason: "Why", Message: "because"}}
		}), Policy{}},
	}
}

func sidecarScenarios() []scenario {
	web := box{name: "web", inits: []string{"x=i:1", "+s=i:1", "y=i:1", "+t=i:1"}, containers: []string{"a=i:1", "b=i:1"}, volumes: []string{"v="}}
	beside := box{name: "web", inits: []string{"+s=i:1"}, containers: []string{"a=i:1"}, volumes: []string{"v=Memory"}}
	task := with(web, func(b *box) { b.policy = schema.RestartNever })
	only := func(n int, f func(*schema.PodStatus)) func(*schema.PodStatus) {
		return func(s *schema.PodStatus) {
			s.Containers = s.Containers[:n]
			f(s)
		}
	}
	probed := change(pods(web), func(d *schema.DesiredState) { d.Pods[0].InitContainers[1].Startup = &schema.Probe{} })
	probing := seen(web, only(2, func(s *schema.PodStatus) {
		s.Containers[1].Digest, s.Containers[1].Started = probed.Pods[0].InitContainers[1].Digest(), false
		s.Containers[1].Probes = []schema.ProbeStatus{{Kind: schema.ProbeStartup, Failures: 1, Message: "HTTP status 503"}}
	}))
	over := func(code int) func(*schema.PodStatus) {
		return func(s *schema.PodStatus) {
			ended(s, "a", schema.ContainerTerminated, 0)
			ended(s, "b", schema.ContainerExited, code)
		}
	}
	removed := func(f func(*schema.PodStatus)) func(*schema.PodStatus) {
		return func(s *schema.PodStatus) {
			f(s)
			ended(s, "b", schema.ContainerTerminated, 0)
			s.Containers = []schema.ContainerStatus{*findContainer(s, "x"), *findContainer(s, "y"), *findContainer(s, "a"), *findContainer(s, "b")}
		}
	}
	return []scenario{
		{"with sidecars, as it should be", pods(web), converged(web), Policy{}},
		{"a sidecar is next", pods(web), seen(web, only(1, func(*schema.PodStatus) {})), Policy{}},
		{"a sidecar has not started", probed, probing, Policy{}},
		{"a sidecar has started", pods(web), seen(web, only(2, func(*schema.PodStatus) {})), Policy{}},
		{"a sidecar crashed", pods(web), seen(web, func(s *schema.PodStatus) { ended(s, "s", schema.ContainerTerminated, 0, time.Hour) }), Policy{}},
		{"a sidecar ended, and its emptyDir is lost", pods(beside), seen(beside, func(s *schema.PodStatus) {
			s.EmptyDirs = nil
			ended(s, "s", schema.ContainerTerminated, 0, time.Hour)
			ended(s, "a", schema.ContainerTerminated, 0, time.Hour)
		}), Policy{}},
		{"a sidecar crashed and backs off, a container is due", pods(web), seen(web, func(s *schema.PodStatus) {
			ended(s, "s", schema.ContainerTerminated, 1, time.Second)
			ended(s, "a", schema.ContainerTerminated, 1, time.Hour)
		}), Policy{}},
		{"a new container waits for the sidecar", pods(with(web, func(b *box) { b.containers = []string{"a=i:1", "b=i:1", "c=i:1"} })), seen(web, func(s *schema.PodStatus) {
			ended(s, "s", schema.ContainerTerminated, 1, time.Second)
		}), Policy{}},
		{"a sidecar changed", pods(with(web, func(b *box) { b.inits = []string{"x=i:1", "+s=i:2", "y=i:1", "+t=i:1"} })), converged(web), Policy{}},
		{"a changed sidecar comes back", pods(web), seen(web, func(s *schema.PodStatus) {
			s.Containers = append(s.Containers[:1:1], s.Containers[2:]...)
		}), Policy{}},
		{"an init container before a sidecar changed", pods(with(web, func(b *box) { b.inits = []string{"x=i:2", "+s=i:1", "y=i:1", "+t=i:1"} })), converged(web), Policy{}},
		{"a sidecar became an init container", pods(with(web, func(b *box) { b.inits = []string{"x=i:1", "s=i:1", "y=i:1", "+t=i:1"} })), converged(web), Policy{}},
		{"the containers have ended, not the sidecars", pods(task), seen(task, over(0)), Policy{}},
		{"the sidecars are gone and stay so", pods(task), seen(task, removed(over(0))), Policy{}},
		{"the containers have ended and are restarted", pods(web), seen(web, over(0)), Policy{}},
		{"an init container failed for good beside a sidecar", pods(task), seen(task, only(3, func(s *schema.PodStatus) { ended(s, "y", schema.ContainerTerminated, 1) })), Policy{}},
		{"a liveness probe failed", pods(web), seen(web, func(s *schema.PodStatus) {
			ended(s, "a", schema.ContainerExited, 137)
			findContainer(s, "a").Message = "liveness probe failed: HTTP status 500"
		}), Policy{}},
		{"last words are not told", pods(web), seen(web, func(s *schema.PodStatus) {
			ended(s, "a", schema.ContainerExited, 1)
			findContainer(s, "a").Message = "password hunter2 is wrong"
		}), Policy{}},
	}
}

func jobScenarios() []scenario {
	job := box{
		name: "j-0", inits: []string{"x=i:1", "+s=i:1"}, containers: []string{"a=i:1", "b=i:1"}, volumes: []string{"v=", "e=ephemeral:1", "c=claim:1"},
		policy: schema.RestartNever, job: &schema.Job{Name: "j", BackoffLimit: 2, Parallelism: 1},
	}
	onFailure := with(job, func(b *box) { b.policy = schema.RestartOnFailure })
	failedOnce := func(runs ...time.Duration) func(*schema.PodStatus) {
		return func(s *schema.PodStatus) {
			ended(s, "a", schema.ContainerTerminated, 1, runs...)
			ended(s, "b", schema.ContainerTerminated, 0, time.Second)
		}
	}
	hour := time.Hour
	timed := box{name: "timed", inits: []string{"+s=i:1"}, containers: []string{"a=i:1", "b=i:1"}, deadline: 3600, policy: schema.RestartOnFailure}
	younger := func(s *schema.PodStatus) { s.CreatedAt = now.Add(-59 * time.Minute) }
	numbered := func(numbers ...string) (list []box) {
		for _, n := range numbers {
			list = append(list, with(job, func(b *box) { b.name, b.inits, b.volumes = "j-"+n, nil, nil }))
		}
		return list
	}
	return []scenario{
		{"a Job's pod failed and backs off", pods(job), seen(job, failedOnce(time.Second)), Policy{}},
		{"a Job's pod failed and is tried again", pods(job), seen(job, failedOnce(hour)), Policy{}},
		{"a Job's pod that lacks something is not tried again", pods(with(job, func(b *box) { b.missing = []string{"x"} })), seen(job, failedOnce(hour)), Policy{}},
		{"a Job's pod is half cleared away", pods(job), seen(job, func(s *schema.PodStatus) {
			failedOnce(hour)(s)
			s.EmptyDirs, s.Containers = nil, []schema.ContainerStatus{*findContainer(s, "x"), *findContainer(s, "a")}
		}), Policy{}},
		{"a Job's pod is not cleared away past what is stuck", pods(job), seen(job, func(s *schema.PodStatus) {
			failedOnce(hour)(s)
			s.Failures = []schema.Failure{{Kind: "emptyDir", Name: "v", Attempts: 3, At: now, Reason: schema.ReasonRemoveFailed}}
		}), Policy{}},
		{"a Job's pod failed as often as it may", pods(job), seen(job, failedOnce(hour, hour, hour)), Policy{}},
		{"a Job's container restarts", pods(onFailure), seen(onFailure, failedOnce(hour, hour)), Policy{}},
		{"a Job's container restarts no more", pods(onFailure), seen(onFailure, func(s *schema.PodStatus) {
			failedOnce(hour, hour, hour)(s)
			findContainer(s, "b").State = schema.ContainerRunning
		}), Policy{}},
		{"pods of a Job take turns", pods(numbered("10", "2", "1")...), schema.ActualState{Known: true}, Policy{}},
		{"finished pods of a Job do not count", pods(numbered("0", "1", "2")...), converged(numbered("0")...), Policy{}},
		{"the time of a pod is not over", pods(timed), seen(timed, younger), Policy{}},
		{"the time of a pod is over", pods(timed), converged(timed), Policy{}},
		{"the time of a pod was over", pods(timed), seen(timed, func(s *schema.PodStatus) { s.Containers = nil }), Policy{}},
		{"the time of a pod that ended is over", pods(timed), seen(timed, func(s *schema.PodStatus) {
			s.Containers = s.Containers[1:]
			ended(s, "a", schema.ContainerTerminated, 0)
			ended(s, "b", schema.ContainerTerminated, 0)
		}), Policy{}},
		{"the time of a pod whose VM died is over", pods(timed), seen(timed, func(s *schema.PodStatus) { s.Machine = schema.MachineDead }), Policy{}},
	}
}

func missingScenarios() []scenario {
	web := box{name: "web", inits: []string{"x=i:1"}, containers: []string{"a=i:1", "b=i:1"}, volumes: []string{"cfg=files:1", "v="}}
	lacking := func(names ...string) box { return with(web, func(b *box) { b.missing = names }) }
	secret := func(v schema.Hidden) schema.DesiredState {
		return change(pods(web), func(d *schema.DesiredState) {
			d.Pods[0].Containers[0].Env = []schema.EnvVar{{Name: "TOKEN", Hidden: v, From: &schema.ValueSource{Secret: "db", Key: "token"}}}
		})
	}
	var known schema.Hidden
	if err := known.UnmarshalJSON([]byte(`"sha256:0"`)); err != nil {
		panic(err)
	}
	larger := with(lacking("a"), func(b *box) { b.memory = 1 << 30 })
	return []scenario{
		{"a container lacks something", pods(lacking("a")), seen(web, func(s *schema.PodStatus) { s.Containers = s.Containers[:1] }), Policy{}},
		{"a volume lacks something", pods(lacking("cfg")), schema.ActualState{Known: true}, Policy{}},
		{"a volume that is there lacks something", pods(with(lacking("cfg"), func(b *box) { b.volumes = []string{"cfg=files:", "v="} })), seen(web, func(s *schema.PodStatus) {
			ended(s, "a", schema.ContainerTerminated, 1, time.Hour)
		}), Policy{}},
		{"an emptyDir that nothing mounts becomes a volume that lacks something", pods(lacking("cfg")),
			change(converged(with(web, func(b *box) { b.volumes = []string{"cfg=", "v="} })), func(a *schema.ActualState) { a.Pods[0].Containers = nil }), Policy{}},
		{"a container that runs lacks something", pods(with(lacking("a"), func(b *box) { b.containers = []string{"a=i:2", "b=i:2"} })), converged(web), Policy{}},
		{"an emptyDir changes under a container that lacks something", pods(with(lacking("a"), func(b *box) { b.volumes = []string{"cfg=files:1", "v=Memory"} })), converged(web), Policy{}},
		{"an init container changes before one that lacks something", pods(with(lacking("a"), func(b *box) { b.inits = []string{"x=i:2"} })), converged(web), Policy{}},
		{"a new init container before one that lacks something", pods(with(lacking("a"), func(b *box) { b.inits = []string{"new=i:1", "x=i:1"} })), converged(web), Policy{}},
		{"a new init container lacks something", pods(with(lacking("new"), func(b *box) { b.inits = []string{"new=i:1", "x=i:1"} })), converged(web), Policy{}},
		{"a VM changes under a container that lacks something", pods(larger), converged(web), Policy{}},
		{"a VM changes under a container that lacks something, and another crashed", pods(larger), seen(web, func(s *schema.PodStatus) {
			ended(s, "b", schema.ContainerTerminated, 1, time.Hour)
		}), Policy{}},
		{"a VM changes and the container that lacks something does not run", pods(larger), seen(web, func(s *schema.PodStatus) {
			ended(s, "a", schema.ContainerTerminated, 1)
		}), Policy{}},
		{"a hidden value changed", secret(schema.Hide("new")), converged(web), Policy{}},
		{"a hidden value is not known", secret(known), seen(web, func(s *schema.PodStatus) { s.Containers = s.Containers[:1] }), Policy{}},
		{"a Job's pod lacks something", pods(with(lacking("a"), func(b *box) { b.job = &schema.Job{Name: "j", Parallelism: 1} })), schema.ActualState{Known: true}, Policy{}},
	}
}
