package schema_test

import (
	"path/filepath"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// FuzzResolve: whatever the documents say, the files of a volume stay within it, resolving
// again gives the same, and no Secret's value is in a plain field.
func FuzzResolve(f *testing.F) {
	f.Add([]byte(consumer + "\n---\n" + documentsText))
	f.Add(read(f, "testdata/documents/data.yaml"))
	f.Add(read(f, "testdata/documents/workloads.yaml"))
	f.Fuzz(func(t *testing.T, text []byte) {
		out := schema.Parse("f", text, schema.ParseOptions{})
		pods := schema.Resolve(out.Pods, out.Data, out.Claims)
		again := schema.Resolve(pods, out.Data, out.Claims)
		for i, pod := range pods {
			if names := changed(pod, again[i]); names != nil {
				t.Errorf("resolving again changes %q", names)
			}
			for _, v := range pod.Volumes {
				if v.Files == nil {
					continue
				}
				for _, file := range v.Files.Files {
					if !filepath.IsLocal(file.Path) || filepath.Clean(file.Path) != file.Path {
						t.Errorf("volume %s has the file %q", v.Name, file.Path)
					}
				}
			}
			for _, c := range pod.Containers {
				for _, e := range c.Env {
					if e.From != nil && e.From.Secret != "" && e.Value != "" {
						t.Errorf("variable %s is plain", e.Name)
					}
				}
			}
		}
	})
}
