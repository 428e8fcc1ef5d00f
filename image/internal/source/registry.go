package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// RegistryOptions say how to talk to registries.
type RegistryOptions struct {
	Keychain authn.Keychain
	// Stall is how long a registry may send nothing.
	Stall time.Duration
}

// Registry finds the image that ref names, for a platform. Failed requests are repeated a
// few times; the error wraps a transport.Error when the registry answered.
func Registry(ctx context.Context, ref name.Reference, want v1.Platform, opt RegistryOptions) (*Content, error) {
	puller, err := remote.NewPuller(remote.WithAuthFromKeychain(opt.Keychain), remote.WithContext(ctx),
		remote.WithTransport(marker{remote.DefaultTransport}))
	if err != nil {
		return nil, err
	}
	r := &registry{puller: puller, repo: ref.Context(), stall: opt.Stall}
	root, err := r.get(ctx, ref)
	if err != nil {
		return nil, err
	}
	h, size, err := v1.SHA256(bytes.NewReader(root.Manifest))
	if err != nil {
		return nil, err
	}
	if d, ok := ref.(name.Digest); ok && d.DigestStr() != h.String() {
		return nil, fmt.Errorf("%w: manifest %s has the digest %s", ErrCorrupt, d.DigestStr(), h)
	}
	return resolve(ctx, r, v1.Descriptor{MediaType: root.MediaType, Digest: h, Size: size}, root.Manifest, want)
}

type registry struct {
	puller *remote.Puller
	repo   name.Repository
	stall  time.Duration
}

func (r *registry) get(ctx context.Context, ref name.Reference) (*remote.Descriptor, error) {
	const attempts = 4 // go-containerregistry's, each of which may stall once
	ctx, cancel := context.WithTimeoutCause(ctx, attempts*r.stall, ErrStalled)
	defer cancel()
	d, err := r.puller.Get(ctx, ref)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return d, err
}

func (r *registry) document(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	got, err := r.get(ctx, r.repo.Digest(d.Digest.String()))
	if err != nil {
		return nil, err
	}
	return got.Manifest, nil
}

func (r *registry) blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(r.stall, func() { cancel(ErrStalled) })
	b := &body{ctx: ctx, cancel: cancel, watch: watch, stall: r.stall}
	layer, err := r.puller.Layer(ctx, r.repo.Digest(d.Digest.String()))
	if err == nil {
		b.rc, err = layer.Compressed()
	}
	watch.Stop()
	if err != nil {
		err = b.cause(err)
		cancel(nil)
		return nil, err
	}
	return b, nil
}

// body is a blob on its way from a registry, given up when nothing arrives.
type body struct {
	ctx    context.Context // of this one download
	cancel context.CancelCauseFunc
	watch  *time.Timer
	stall  time.Duration
	rc     io.ReadCloser
}

func (b *body) Read(p []byte) (int, error) {
	b.watch.Reset(b.stall)
	n, err := b.rc.Read(p)
	b.watch.Stop()
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, ErrInterrupted) {
		// Not the connection's: go-containerregistry found that the digest is wrong.
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return n, b.cause(err)
}

// cause tells an error from the end of the context that is behind it.
func (b *body) cause(err error) error {
	if err != nil && !errors.Is(err, io.EOF) && b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	return err
}

func (b *body) Close() error {
	b.watch.Stop()
	err := b.rc.Close()
	b.cancel(nil)
	return err
}

// marker marks errors in the midst of an answer as the connection's.
type marker struct{ http.RoundTripper }

func (m marker) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := m.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = markedBody{resp.Body}
	}
	return resp, err
}

type markedBody struct{ io.ReadCloser }

func (m markedBody) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", ErrInterrupted, err)
	}
	return n, err
}
