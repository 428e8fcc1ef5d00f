package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

const (
	// maxBody bounds what is read of an answer.
	maxBody = 10 << 10
	// maxAnswerHeaders bounds an answer's headers.
	maxAnswerHeaders = 256 << 10
	// maxRedirects bounds those that are followed.
	maxRedirects = 10
	// userAgent begins as that of the kubelet's probes: servers know them by it.
	userAgent = "kube-probe/firkin"
)

// httpGet succeeds with a status of 200 to 399, or with any answer when that will do. A redirect
// to another host is a success and is not followed.
func (a *Agent) httpGet(ctx context.Context, get *agentpb.HTTPGetAction, anyAnswer bool) (finding, error) {
	req, err := newGet(ctx, get, a.address(get.GetHost(), get.GetPort()))
	if err != nil {
		return finding{}, err
	}
	client := &http.Client{
		Transport: &http.Transport{
			DialContext:            a.opt.Dial,
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // probes do not check certificates, as the kubelet
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxAnswerHeaders,
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			switch {
			case next.URL.Hostname() != via[0].URL.Hostname():
				return http.ErrUseLastResponse
			case len(via) >= maxRedirects:
				return errors.New("too many redirects")
			}
			return nil
		},
	}
	resp, err := client.Do(req)
	if err != nil {
		return finding{message: err.Error()}, nil
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if _, err := io.CopyN(io.Discard, resp.Body, maxBody); err != nil && !errors.Is(err, io.EOF) {
		return finding{message: "read answer: " + err.Error()}, nil
	}
	f := finding{ok: anyAnswer || resp.StatusCode >= 200 && resp.StatusCode < 400, message: fmt.Sprintf("HTTP status %d", resp.StatusCode)}
	if f.ok && resp.StatusCode >= 300 {
		f.message += ": the redirect leads to another host and is not followed"
	}
	return f, nil
}

// newGet makes the request; a path may carry a query.
func newGet(ctx context.Context, get *agentpb.HTTPGetAction, address string) (*http.Request, error) {
	u, err := url.Parse(get.GetPath())
	if err != nil || u.Host != "" || u.Scheme != "" {
		u = &url.URL{Path: get.GetPath()}
	}
	u.Scheme, u.Host = "http", address
	if get.GetHttps() {
		u.Scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("http request: %w", err)
	}
	for _, h := range get.GetHeaders() {
		if http.CanonicalHeaderKey(h.GetName()) == "Host" {
			req.Host = h.GetValue()
		}
		req.Header.Add(h.GetName(), h.GetValue())
	}
	for name, value := range map[string]string{"User-Agent": userAgent, "Accept": "*/*"} {
		if _, set := req.Header[name]; !set {
			req.Header.Set(name, value)
		}
	}
	return req, nil
}
