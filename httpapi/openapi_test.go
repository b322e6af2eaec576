package httpapi

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/hearthstore/hearth"
)

func TestDescriptionIsValid(t *testing.T) {
	doc := document()
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation(), openapi3.EnableSchemaDefaultsValidation()); err != nil {
		t.Error(err)
	}
	if !doc.IsOpenAPI31OrLater() {
		t.Error("it is not 3.1, so its schemas are not JSON Schema")
	}
}

func TestDescriptionIsServed(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	a := c.do("GET", "/openapi.yaml", "", "").is(200)
	tag := a.header.Get("ETag")
	if a.body != string(description) || a.header.Get("Content-Type") != "application/yaml" || tag == "" || a.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("served as %v", a.header)
	}
	for match, status := range map[string]int{tag: 304, "W/" + tag: 304, "*": 304, `"x", ` + tag: 304, `"x"`: 200} {
		a := c.do("GET", "/openapi.yaml", "", "", "If-None-Match", match).is(status)
		if a.header.Get("ETag") != tag || (a.body == "") != (status == 304) {
			t.Errorf("If-None-Match %s: %v, %d bytes", match, a.header, len(a.body))
		}
	}
	c.do("POST", "/openapi.yaml", "", "").problem(405, "no_such_method")
}

// routes returns every route of a server in development mode, as the document writes them.
func routes(t *testing.T) (out []string) {
	t.Helper()
	c := newCluster(t, setup{nodes: 1, dev: true})
	param := regexp.MustCompile(`:([a-z_]+)`)
	for _, r := range c.nodes[0].echo.Routes() {
		if r.Method != "echo_route_not_found" {
			out = append(out, r.Method+" "+param.ReplaceAllString(r.Path, "{$1}"))
		}
	}
	return out
}

// Each route is described, by the same method, path and parameters, and what is described is served.
func TestEveryRouteIsDescribed(t *testing.T) {
	served, described := routes(t), map[string]bool{}
	for path, item := range document().Paths.Map() {
		for method := range item.Operations() {
			call := method + " " + path
			described[call] = true
			if !slices.Contains(served, call) {
				t.Errorf("%s is described and not served", call)
			}
		}
	}
	for _, call := range served {
		if !described[call] {
			t.Errorf("%s is served and not described", call)
		}
	}
}

// What the document says of an error is what the table of errors makes of it.
func TestErrorsAreDescribed(t *testing.T) {
	known := reasons(t)
	var listed []hearth.Reason
	for _, v := range document().Components.Schemas["Reason"].Value.Enum {
		listed = append(listed, hearth.Reason(fmt.Sprint(v)))
	}
	slices.Sort(known)
	if slices.Sort(listed); !slices.Equal(slices.Compact(known), listed) {
		t.Errorf("the reasons are %s; schemas/Reason has %s", known, listed)
	}
	for path, item := range document().Paths.Map() {
		for method, op := range item.Operations() {
			for text, res := range op.Responses.Map() {
				code, err := strconv.Atoi(text)
				if err != nil {
					t.Errorf("%s: %q is no status", op.OperationID, text)
				}
				if res.Value.Headers["Hearth-Node"] == nil {
					t.Errorf("%s %d: no Hearth-Node", op.OperationID, code)
				}
				if code < http.StatusBadRequest {
					continue
				}
				for _, r := range problemReasons(t, op.OperationID, res.Value) {
					if got := codes(hearth.Errorf(r, "x"), method != http.MethodGet).http; got != code {
						t.Errorf("%s %s: %s is described as %d and is %d", method, path, r, code, got)
					}
				}
			}
		}
	}
}

// problemReasons returns the reasons that an error may have.
func problemReasons(t *testing.T, op string, res *openapi3.Response) (out []hearth.Reason) {
	t.Helper()
	media := res.Content["application/problem+json"]
	if media == nil || len(res.Content) != 1 {
		t.Fatalf("%s: an error that is no problem: %s", op, *res.Description)
	}
	for _, v := range media.Schema.Value.Properties["reason"].Value.Enum {
		r := fmt.Sprint(v)
		if out = append(out, hearth.Reason(r)); !strings.Contains(*res.Description, "`"+r+"`") {
			t.Errorf("%s: %s is not explained: %s", op, r, *res.Description)
		}
	}
	return out
}

// What every operation can meet: a token that is missing or forbids, a store that is away, for a write one that doesn't
// answer.
func TestUsualErrorsAreDescribed(t *testing.T) {
	for path, item := range document().Paths.Map() {
		for method, op := range item.Operations() {
			if !strings.HasPrefix(path, "/v1/") || op.OperationID == "connect" {
				continue
			}
			want := []string{"400", "401", "403", "500", "503"}
			if method != http.MethodGet {
				want = append(want, "413", "504")
			}
			for _, code := range want {
				if op.Responses.Value(code) == nil {
					t.Errorf("%s has no %s", op.OperationID, code)
				}
			}
			permission := regexp.MustCompile("(?s)[Nn]eeds? .*(`(read|write|broadcast|lock|update_others|remove_others|end_room)`|nothing)")
			if !permission.MatchString(op.Description) {
				t.Errorf("%s doesn't say what permission it needs: %s", op.OperationID, op.Description)
			}
		}
	}
}

// That the check of real answers objects, to each kind of thing that can be wrong with one.
func TestWrongAnswersAreNoticed(t *testing.T) {
	const (
		peer  = `{"peer_id":"ann","role":"host","groups":[],"joined_at":1,"realtime":true,"tracks":{},"info":{"name":"","data":"","user_id":"u","type":"regular"}}`
		entry = `{"key":"k","data":{"a":[1,{"b":null}]},"change_version":3,"updated_by":"ann","updated_at":1}`
		gone  = `{"type":"https://h/x","title":"Gone","status":410,"detail":"d","reason":"session_ended"}`
	)
	tag := []string{"ETag", `"s.3"`}
	for name, tt := range map[string]struct {
		method, path string
		status       int
		body         string
		header       []string
		objection    string // "": none
	}{
		"a peer":                {"GET", "/v1/rooms/r/peers/ann", 200, peer, nil, ""},
		"a member too few":      {"GET", "/v1/rooms/r/peers/ann", 200, strings.Replace(peer, `"role":"host",`, "", 1), nil, "role"},
		"a member too many":     {"GET", "/v1/rooms/r/peers/ann", 200, strings.Replace(peer, `"role"`, `"secret":1,"role"`, 1), nil, "/secret"},
		"deep inside":           {"GET", "/v1/rooms/r/peers/ann", 200, strings.Replace(peer, `"name"`, `"mail":1,"name"`, 1), nil, "/info/mail"},
		"another constant":      {"GET", "/v1/rooms/r/peers/ann", 200, strings.Replace(peer, `"realtime":true`, `"realtime":false`, 1), nil, "realtime"},
		"another type":          {"GET", "/v1/rooms/r/peers/ann", 200, strings.Replace(peer, `"joined_at":1`, `"joined_at":"1"`, 1), nil, "joined_at"},
		"a name that is none":   {"GET", "/v1/rooms/r/peers/ann", 200, strings.Replace(peer, `"host"`, `"a b"`, 1), nil, "role"},
		"null":                  {"GET", "/v1/rooms/r/peers/ann", 200, strings.Replace(peer, `"groups":[]`, `"groups":null`, 1), nil, "groups"},
		"not JSON":              {"GET", "/v1/rooms/r/peers/ann", 200, "{", nil, "decode"},
		"another status":        {"GET", "/v1/rooms/r/peers/ann", 201, peer, nil, "status"},
		"another media type":    {"GET", "/v1/rooms/r/peers/ann", 200, peer, []string{"Content-Type", "text/plain"}, "Content-Type"},
		"no Hearth-Node":        {"GET", "/v1/rooms/r/peers/ann", 200, peer, []string{"Hearth-Node", ""}, "Hearth-Node"},
		"an entry":              {"GET", "/v1/rooms/r/metadata/k", 200, entry, tag, ""},
		"an ETag without marks": {"GET", "/v1/rooms/r/metadata/k", 200, entry, []string{"ETag", "s.3"}, "ETag"},
		"a bad entry in a page": {"GET", "/v1/rooms/r/metadata", 200, `{"session_id":"s","seq":1,"entries":[` + entry + `,{}]}`, nil, "entries"},
		"no session":            {"GET", "/v1/rooms/r", 200, `{"room_id":"r","enabled":true,"session":null}`, nil, ""},
		"a bad session":         {"GET", "/v1/rooms/r", 200, `{"room_id":"r","enabled":true,"session":{"session_id":"s"}}`, nil, "session"},
		"a body with a 304":     {"GET", "/v1/rooms/r/metadata/k", 304, entry, tag, "body"},
		"a problem":             {"GET", "/v1/rooms/r/peers/ann", 410, gone, nil, ""},
		"a plain error":         {"GET", "/v1/rooms/r/peers/ann", 410, `{"message":"gone"}`, nil, "reason"},
		"a reason elsewhere":    {"GET", "/v1/rooms/r/peers/ann", 410, strings.Replace(gone, "session_ended", "not_found", 1), nil, "reason"},
		"no Retry-After":        {"GET", "/v1/rooms/r/peers/ann", 503, strings.Replace(gone, "session_ended", `unavailable","retry_after_ms":1,"x":"`, 1), nil, "Retry-After"},
		"no current":            {"PUT", "/v1/rooms/r/metadata/k", 412, strings.Replace(gone, "session_ended", "version_conflict", 1), nil, "current"},
		"nowhere":               {"GET", "/v1/nowhere", 404, strings.Replace(gone, "session_ended", "not_found", 1), nil, ""},
		"nowhere, plainly":      {"GET", "/v1/nowhere", 404, `{}`, nil, "reason"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), tt.method, "http://h"+tt.path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			res := &http.Response{StatusCode: tt.status, Header: http.Header{"Hearth-Node": {"n"}, "Content-Type": {"application/json"}}}
			if tt.status >= 400 {
				res.Header.Set("Content-Type", "application/problem+json")
			}
			for i := 0; i < len(tt.header); i += 2 {
				if res.Header.Set(tt.header[i], tt.header[i+1]); tt.header[i+1] == "" {
					res.Header.Del(tt.header[i])
				}
			}
			route, _ := lookUp(r)
			err = conformResponse(r, res, []byte(tt.body), route)
			if (err == nil) != (tt.objection == "") || err != nil && !strings.Contains(err.Error(), tt.objection) {
				t.Errorf("the objection is %v, not one to %q", err, tt.objection)
			}
		})
	}
}

func TestWrongRequestsAreNoticed(t *testing.T) {
	for name, tt := range map[string]struct{ method, path, body, objection string }{
		"good":                 {"POST", "/v1/rooms/r/messages?token=x", `{"message":null}`, ""},
		"no body":              {"POST", "/v1/rooms/r/messages", ``, "body"},
		"a member too few":     {"POST", "/v1/rooms/r/messages", `{"type":"t"}`, "message"},
		"a member too many":    {"POST", "/v1/rooms/r/messages", `{"message":1,"ttl":5}`, "/ttl"},
		"a bad member":         {"POST", "/v1/rooms/r/messages", `{"message":1,"roles":"all"}`, "roles"},
		"a parameter too many": {"GET", "/v1/rooms/r/peers?group=g", ``, "group"},
		"a bad parameter":      {"GET", "/v1/rooms/r/peers?limit=0", ``, "limit"},
		"a bad part":           {"GET", "/v1/rooms/a%20b/peers", ``, "room"},
		"an escaped part":      {"GET", "/v1/rooms/r/metadata/a%2Fb", ``, ""},
		"no operation":         {"GET", "/v1/nowhere", ``, "no such operation"},
		"no such method":       {"POST", "/v1/rooms", ``, "no such operation"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, "http://h"+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		route, params := lookUp(r)
		err = conformRequest(r, route, params)
		if (err == nil) != (tt.objection == "") || err != nil && !strings.Contains(err.Error(), tt.objection) {
			t.Errorf("%s: the objection is %v, not one to %q", name, err, tt.objection)
		}
	}
}

func TestWrongEventsAreNoticed(t *testing.T) {
	const peer = `"peer_id":"ann","role":"host","groups":[],"joined_at":1,"realtime":true,"tracks":{},"info":{"name":"","data":"","user_id":"u","type":"regular"}`
	for text, objection := range map[string]string{
		": still here": "",
		"id: epoch1.4.nonce-4\nevent: on-peer-join\ndata: {\"seq\":4,\"n\":\"nonce-4\"," + peer + "}": "",
		"event: on-peer-leave\ndata: {\"seq\":4,\"n\":\"nonce-4\"," + peer + "}":                      "reason",
		"event: on-peer-leave\ndata: {\"seq\":4,\"n\":\"nonce-4\"," + peer + ",\"reason\":\"left\"}":  "",
		"event: on-peer-join\ndata: {" + peer + "}":                                                   "seq",
		"id: 4\nevent: on-peer-join\ndata: {\"seq\":4,\"n\":\"nonce-4\"," + peer + "}":                "cursor",
		"event: on-peer-join\ndata: {\"seq\":4,\"n\":\"nonce-4\",\"secret\":1," + peer + "}":          "/params/secret",
		"event: on-metadata-change\ndata: {\"seq\":4,\ndata: \"snapshot\":true,\"values\":[]}":        "",
		"event: on-metadata-change\ndata: {\"seq\":4,\"values\":[{\"key\":\"k\",\"data\":1}]}":        "change_version",
		"event: on-nothing\ndata: {}": "no such method",
		"data: {}":                    "no such method",
		"event: on-lock-change\ndata: {\"seq\":4,\"n\":\"nonce-4\",\"name\":\"l\",\"state\":\"lost\"}": "state",
		"event: peer-list\ndata: {\"snapshot\":true,\"peers\":{\"a b\":{" + peer + "}},\"total\":1,\"truncated\":false," +
			"\"room\":{\"name\":\"r\",\"session_id\":\"s\",\"started_at\":1},\"seq\":1}": "peers",
	} {
		err := conformEvent(text)
		if (err == nil) != (objection == "") || err != nil && !strings.Contains(err.Error(), objection) {
			t.Errorf("%q: the objection is %v, not one to %q", text, err, objection)
		}
	}
}

// Schemas that limit what the root package limits too.
func TestLimitsAreDescribed(t *testing.T) {
	schemas := document().Components.Schemas
	watched := document().Paths.Value("/v1/rooms/{room}/events").Get.Parameters.GetByInAndName("query", "keys")
	number := func(v *uint64) int { return int(*v) }
	for name, tt := range map[string]struct{ got, want int }{
		"MaxGroups":     {number(schemas["Groups"].Value.MaxItems), hearth.MaxGroups},
		"MaxPeerData":   {number(schemas["PeerData"].Value.MaxLength), hearth.MaxPeerData},
		"MaxKeyLen":     {number(schemas["Key"].Value.MaxLength), hearth.MaxKeyLen},
		"MaxUserLen":    {number(schemas["UserID"].Value.MaxLength), hearth.MaxUserLen},
		"MaxTokenIDLen": {number(schemas["TokenID"].Value.MaxLength), hearth.MaxTokenIDLen},
		"MaxOpIDLen":    {number(schemas["OpID"].Value.MaxLength), hearth.MaxOpIDLen},
		"MaxReasonLen":  {number(schemas["Text"].Value.MaxLength), hearth.MaxReasonLen},
		"MaxPatterns":   {number(watched.Schema.Value.MaxItems), hearth.MaxPatterns},
		"MinLease":      {int(*schemas["LeaseMillis"].Value.Min), int(hearth.MinLease.Milliseconds())},
		"MaxLease":      {int(*schemas["LeaseMillis"].Value.Max), int(hearth.MaxLease.Milliseconds())},
		"MaxLockKeys":   {number(schemas["LockKeys"].Value.MaxItems), hearth.MaxLockKeys},
		"MaxTTL":        {int(*schemas["TTLMillis"].Value.Max), int(hearth.MaxTTL.Milliseconds())},
		"MaxSafeInt":    {int(*schemas["Seq"].Value.Max), hearth.MaxSafeInt},
		"MaxPage":       {int(*document().Components.Parameters["Limit"].Value.Schema.Value.Max), hearth.MaxPage},
		"ConnID length": {number(schemas["ConnID"].Value.MaxLength), 22 + 1 + hearth.MaxNameLen},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is described as %d and is %d", name, tt.got, tt.want)
		}
	}
	grammar := regexp.MustCompile(schemas["Name"].Value.Pattern)
	for _, s := range []string{"a", "a b", "-a", "9._:~@+=-", "é", strings.Repeat("x", 128), strings.Repeat("x", 129), "", "a\n"} {
		if grammar.MatchString(s) != hearth.ValidName(s) {
			t.Errorf("%q is a name to one, and none to the other", s)
		}
	}
	keys := regexp.MustCompile(schemas["Key"].Value.Pattern)
	for _, s := range slices.Sorted(maps.Keys(map[string]bool{"a": true, "a*": true, "*a": true, "": true, "a\x00": true, "\x7f": true, "\u0085": true, "é/ ": true})) {
		if keys.MatchString(s) != (hearth.CheckKey(s) == nil) {
			t.Errorf("%q is a key to one, and none to the other", s)
		}
	}
}
