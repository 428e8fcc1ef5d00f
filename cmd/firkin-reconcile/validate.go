package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// defaultPath is where manifests are looked for when no path is given.
const defaultPath = "manifests"

// validateGCPercent is how much the heap may grow while manifests are parsed, in percent of
// what is in use, before it is collected.
const validateGCPercent = 800

// validateMemory is what memory may grow to by that; above it, it is collected more often.
const validateMemory = 1 << 30

// maxManifestBytes bounds one file, as the reader of manifest directories does.
const maxManifestBytes = 8 << 20

func (a *app) validateCommand() *cobra.Command {
	var output string
	var requireDigest bool
	cmd := &cobra.Command{
		Use:   "validate [PATH...]",
		Short: "Check manifests; talks to no VM",
		Long: `Check manifests: files and directories (default ./manifests), or "-" for stdin. All
errors of all files are reported at once; the exit code is 1 if there is one.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usagef("validate: -o %q: it is one of text, json", output)
			}
			if len(args) == 0 {
				args = []string{defaultPath}
			}
			return a.validate(cmd.Context(), args, output, schema.ParseOptions{RequireDigest: requireDigest})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.Flags().BoolVar(&requireDigest, "require-digest", false, "refuse images that are named by tag only")
	return cmd
}

func (a *app) validate(ctx context.Context, paths []string, output string, opt schema.ParseOptions) error {
	result := render.Validation{Errors: []schema.Problem{}}
	var files []string
	for _, path := range paths {
		found, err := manifestFiles(path)
		if err != nil {
			return remedy(err, "name a manifest, or a directory of them")
		}
		files = append(files, found...)
	}
	parsed, err := a.parseAll(ctx, files, opt)
	if err != nil {
		return err
	}
	result.Files = len(files)
	named := map[schema.Ref][]string{}
	pods := make([]*schema.Pod, 0, len(files))
	for i := range parsed {
		if slices.ContainsFunc(parsed[i].Problems, func(p schema.Problem) bool { return p.Severity == schema.SeverityError }) {
			result.Refused++
		} else {
			result.Accepted++
		}
		pods = append(pods, parsed[i].Pods...)
		result.Errors = append(result.Errors, parsed[i].Problems...)
		for _, ref := range parsed[i].Refs {
			named[ref] = append(named[ref], files[i])
		}
	}
	result.Pods = len(pods)
	result.Warnings = byTag(pods)
	result.Errors = append(result.Errors, duplicates(named, parsed)...)
	result.Errors = append(result.Errors, missingWarnings(parsed)...)
	slices.SortStableFunc(result.Errors, schema.Problem.Compare)
	if output == "json" {
		err = render.JSON(a.stdout, result)
	} else {
		err = result.Text(a.stdout, a.paintOut)
	}
	a.warn(output, result.Warnings)
	if bad, _ := result.Counts(); err == nil && bad > 0 {
		return statusError(exitFailed)
	}
	return err
}

// parseAll reads and parses files side by side.
func (a *app) parseAll(ctx context.Context, files []string, opt schema.ParseOptions) ([]schema.Parsed, error) {
	parsed := make([]schema.Parsed, len(files))
	// Few goroutines parse many files each: a new one for each would grow its stack each time.
	// What is parsed is kept to the end, so that collecting often frees little.
	defer debug.SetGCPercent(debug.SetGCPercent(validateGCPercent))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(validateMemory))
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), len(files)) {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < len(files); i = int(next.Add(1)) - 1 {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				parsed[i] = a.parse(files[i], opt)
			}
			return nil
		})
	}
	return parsed, g.Wait()
}

// parse reads and parses one file; one that cannot be read is a problem of that file.
func (a *app) parse(name string, opt schema.ParseOptions) schema.Parsed {
	data, err := a.readManifest(name)
	if err != nil {
		return schema.Parsed{Unreadable: true, Problems: []schema.Problem{{
			File: name, Severity: schema.SeverityError, Class: schema.ClassInvalid, Message: err.Error(),
		}}}
	}
	parsed := schema.Parse(name, data, opt)
	for i := range parsed.Pods {
		parsed.Pods[i].Manifest = nil // nobody looks at it, and all pods are kept to the end
	}
	return parsed
}

func (a *app) readManifest(name string) ([]byte, error) {
	r := a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, maxManifestBytes+1))
	if err == nil && len(data) > maxManifestBytes {
		err = fmt.Errorf("larger than %d MiB, which no manifest is", maxManifestBytes>>20)
	}
	return data, err
}

// duplicates are an error on every document that names a pod which others name too.
func duplicates(named map[schema.Ref][]string, parsed []schema.Parsed) []schema.Problem {
	var problems []schema.Problem
	for ref, files := range named {
		if len(files) < 2 {
			continue
		}
		seen := map[string]bool{}
		for _, file := range files {
			if seen[file] {
				continue
			}
			seen[file] = true
			problems = append(problems, schema.Problem{
				File: file, Line: lineOf(ref, file, parsed), Column: 1, Path: "metadata.name",
				Severity: schema.SeverityError, Class: schema.ClassInvalid,
				Message: fmt.Sprintf("pod %s is named by %d documents (%s): keep one of them", ref, len(files), strings.Join(files, ", ")),
			})
		}
	}
	return problems
}

// lineOf is where a file's first document of that pod begins, 0 when that is not known.
func lineOf(ref schema.Ref, file string, parsed []schema.Parsed) int {
	for i := range parsed {
		for _, p := range parsed[i].Pods {
			if p.Ref == ref && p.Origin.File == file {
				return p.Origin.Line
			}
		}
	}
	return 0
}
