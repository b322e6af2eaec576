package main

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestPprof: profiles are at an address of their own, if one is given, and only for this machine.
func TestPprof(t *testing.T) {
	n := start(t, nil, "--pprof-addr", "127.0.0.1:0")
	m := regexp.MustCompile(`msg="serving profiles" addr=(\S+)`).FindStringSubmatch(n.said())
	if m == nil {
		t.Fatal(n.said())
	}
	if code, text := get(t, "http://"+m[1]+"/debug/pprof/goroutine?debug=1"); code != http.StatusOK || !strings.HasPrefix(text, "goroutine profile: ") {
		t.Errorf("%d %s", code, text)
	}
	if code, _ := get(t, n.url+"/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("where clients come, profiles are answered with %d", code)
	}
	terminal{t, nil}.fails(exitFailed, "HEARTH_PPROF_ADDR must be a loopback address", "serve", "--pprof-addr", "0.0.0.0:6060")
	terminal{t, []string{"HEARTH_PPROF_ADDR=:6060"}}.fails(exitFailed, "must be a loopback address", "serve")
}

// TestMetricsElsewhere: metrics are at an address of their own, and then nowhere else.
func TestMetricsElsewhere(t *testing.T) {
	n := start(t, nil, "--metrics-addr", "127.0.0.1:0")
	m := regexp.MustCompile(`msg="serving metrics" addr=(\S+)`).FindStringSubmatch(n.said())
	if m == nil {
		t.Fatal(n.said())
	}
	if code, text := get(t, "http://"+m[1]+"/metrics"); code != http.StatusOK || !strings.Contains(text, "hearth_") {
		t.Errorf("%d %s", code, text)
	}
	for _, url := range []string{n.url + "/metrics", "http://" + m[1] + "/v1/rooms", "http://" + m[1] + "/"} {
		if code, _ := get(t, url); code != http.StatusNotFound {
			t.Errorf("%s is answered with %d", url, code)
		}
	}
	if code, text := get(t, start(t, nil).url+"/metrics"); code != http.StatusOK || !strings.Contains(text, "hearth_") {
		t.Errorf("without the setting: %d", code)
	}
	terminal{t, nil}.fails(exitFailed, "HEARTH_METRICS_ADDR: listen", "serve", "--metrics-addr", "127.0.0.1:70000")
}

func get(t *testing.T, url string) (code int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}
