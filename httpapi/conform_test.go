package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hearthstore/hearth/internal/redistest"
)

// document is openapi.yaml, read once.
var document = sync.OnceValue(func() *openapi3.T {
	doc, err := openapi3.NewLoader().LoadFromData(description)
	if err != nil {
		panic(fmt.Sprintf("openapi.yaml: %v", err))
	}
	return doc
})

// checked makes a client's transport hold against openapi.yaml every answer that passes through it, and every request
// that wasn't refused: what the server takes, the document has to allow.
func checked(tb testing.TB, next http.RoundTripper) http.RoundTripper {
	if c, ok := next.(*conforming); ok { // of the test that tb is a part of
		next = c.next
	}
	return &conforming{tb, next}
}

type conforming struct {
	tb   testing.TB
	next http.RoundTripper
}

func (c *conforming) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := c.next.RoundTrip(r)
	if err != nil || r.Method == http.MethodOptions || r.Method == http.MethodHead {
		return res, err
	}
	complain := func(err error) {
		c.tb.Helper()
		if err != nil {
			c.tb.Errorf("%s %s, answered by %d: not as openapi.yaml has it: %v", r.Method, r.URL.EscapedPath(), res.StatusCode, err)
		}
	}
	route, params := lookUp(r)
	if res.StatusCode < http.StatusBadRequest {
		complain(conformRequest(r, route, params))
	}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		complain(conformResponse(r, res, nil, route))
		res.Body = &stream{ReadCloser: res.Body, complain: complain}
		return res, nil
	}
	b, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(b))
	complain(conformResponse(r, res, b, route))
	return res, nil
}

// lookUp finds what the document says about a request: nil if nothing. Of two paths that fit, the one with fewer
// parameters counts.
func lookUp(r *http.Request) (*routers.Route, map[string]string) {
	parts := strings.Split(r.URL.EscapedPath(), "/")
	var found *routers.Route
	var params map[string]string
	for path, item := range document().Paths.Map() {
		op := item.GetOperation(r.Method)
		if op == nil {
			continue
		}
		if p := match(strings.Split(path, "/"), parts); p != nil && (found == nil || len(p) < len(params)) {
			found, params = &routers.Route{Spec: document(), Path: path, PathItem: item, Method: r.Method, Operation: op}, p
		}
	}
	return found, params
}

func match(template, parts []string) map[string]string {
	if len(template) != len(parts) {
		return nil
	}
	params := map[string]string{}
	for i, t := range template {
		name, ok := strings.CutPrefix(t, "{")
		if !ok && t != parts[i] {
			return nil
		}
		v, err := url.PathUnescape(parts[i])
		if err != nil || v == "" && ok {
			return nil
		}
		if ok {
			params[strings.TrimSuffix(name, "}")] = v
		}
	}
	return params
}

// succeeded has the operations that a test saw succeed.
var succeeded sync.Map

func conformRequest(r *http.Request, route *routers.Route, params map[string]string) error {
	if route == nil {
		return errors.New("it has no such operation")
	}
	succeeded.Store(route.Operation.OperationID, true)
	q := r.Clone(r.Context())
	var body []byte
	if r.GetBody != nil {
		rc, err := r.GetBody()
		if err != nil {
			return err
		}
		if body, err = io.ReadAll(rc); err != nil {
			return err
		}
	}
	q.Body = io.NopCloser(bytes.NewReader(body))
	q.Header.Set("Content-Type", "application/json") // the server doesn't look at it
	err := openapi3filter.ValidateRequest(r.Context(), &openapi3filter.RequestValidationInput{
		Request: q, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true, ExcludeRequestBody: true,
		},
	})
	if err != nil {
		return fmt.Errorf("the request was taken: %w", err)
	}
	for name := range r.URL.Query() {
		if !hasParameter(route, "query", name) && name != "token" {
			return fmt.Errorf("the request was taken with a parameter that is not there: %s", name)
		}
	}
	switch ref := route.Operation.RequestBody; {
	case ref == nil && len(body) > 0:
		return errors.New("the request was taken with a body where none is described")
	case ref != nil && len(body) > 0:
		if err := conformTo(ref.Value.Content.Get("application/json").Schema, decoded(body)); err != nil {
			return fmt.Errorf("the request was taken: %w", err)
		}
	case ref != nil && ref.Value.Required:
		return errors.New("the request was taken without its body")
	}
	return nil
}

func hasParameter(route *routers.Route, in, name string) bool {
	return route.Operation.Parameters.GetByInAndName(in, name) != nil || route.PathItem.Parameters.GetByInAndName(in, name) != nil
}

func conformResponse(r *http.Request, res *http.Response, body []byte, route *routers.Route) error {
	if route == nil {
		if res.StatusCode < http.StatusBadRequest {
			return nil // said already
		}
		return conformTo(document().Components.Schemas["Problem"], decoded(body))
	}
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: route},
		Status:                 res.StatusCode, Header: res.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: true},
	}
	if err := openapi3filter.ValidateResponse(r.Context(), in); err != nil {
		return err
	}
	ref := route.Operation.Responses.Status(res.StatusCode)
	if ref == nil { // a 304 is not looked at
		return errors.New("no such status")
	}
	media := ref.Value.Content.Get(res.Header.Get("Content-Type"))
	switch {
	case media == nil && len(body) > 0:
		return errors.New("a body of a Content-Type that is not described")
	case media != nil && body != nil && len(body) == 0:
		return errors.New("no body where one is described")
	case media == nil || body == nil || !strings.Contains(res.Header.Get("Content-Type"), "json"):
		return nil
	case !json.Valid(body):
		return fmt.Errorf("can't decode the body: %s", body)
	}
	return conformTo(media.Schema, decoded(body))
}

func decoded(text []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil // it is nobody's JSON, or its reader has said so
	}
	return v
}

// conformTo holds a value against a schema of the document, taken as closed.
func conformTo(ref *openapi3.SchemaRef, v any) error {
	if err := validator(ref.Value).Validate(v); err != nil {
		return fmt.Errorf("%w: %s", err, v)
	}
	if extra := undescribed(ref, v, ""); extra != nil {
		return fmt.Errorf("members that are not described: %s: %s", extra, v)
	}
	return nil
}

// validators are the document's schemas, each compiled when it is first asked for.
var validators sync.Map // *openapi3.Schema → func() *jsonschema.Schema

func validator(s *openapi3.Schema) *jsonschema.Schema {
	once, _ := validators.LoadOrStore(s, sync.OnceValue(func() *jsonschema.Schema { return compiled(s) }))
	return once.(func() *jsonschema.Schema)() //nolint:errcheck // nothing else is in it
}

// compiled takes a schema as a document of its own, beside which are those that it may refer to.
func compiled(s *openapi3.Schema) *jsonschema.Schema {
	text := func(v any) (tree map[string]any) {
		b, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(b, &tree)
		}
		if err != nil {
			panic(fmt.Sprintf("openapi.yaml: %v", err))
		}
		return tree
	}
	tree := text(s)
	tree["components"] = map[string]any{"schemas": text(document().Components.Schemas)}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	const name = "https://hearth.test/schema.json"
	if err := c.AddResource(name, tree); err != nil {
		panic(fmt.Sprintf("openapi.yaml: %v", err))
	}
	out, err := c.Compile(name)
	if err != nil {
		panic(fmt.Sprintf("openapi.yaml: %v", err))
	}
	return out
}

// undescribed returns the members of v, at any depth, of which a schema says nothing. The document's objects are open,
// so that clients expect what comes later; that a server sends only what is described is held here.
func undescribed(ref *openapi3.SchemaRef, v any, at string) (out []string) {
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			for _, s := range parts(ref, v) {
				if s.Items != nil {
					out = append(out, undescribed(s.Items, item, fmt.Sprintf("%s/%d", at, i))...)
				}
			}
		}
	case map[string]any:
		all := parts(ref, v)
		free := !slices.ContainsFunc(all, func(s *openapi3.Schema) bool { return len(s.Properties) > 0 || s.AdditionalProperties.Schema != nil })
		for _, name := range slices.Sorted(maps.Keys(v)) {
			known := free
			var inner []string
			for _, s := range all {
				p := s.Properties[name]
				if p == nil {
					p = s.AdditionalProperties.Schema
				}
				if p != nil {
					known, inner = true, append(inner, undescribed(p, v[name], at+"/"+name)...)
				}
			}
			if !known {
				inner = []string{at + "/" + name}
			}
			out = append(out, inner...)
		}
	}
	return out
}

// parts returns the schemas that say something about v: ref's own, and those it is put together of.
func parts(ref *openapi3.SchemaRef, v any) []*openapi3.Schema {
	s := ref.Value
	out := []*openapi3.Schema{s}
	for _, r := range s.AllOf {
		out = append(out, parts(r, v)...)
	}
	for _, r := range slices.Concat(s.AnyOf, s.OneOf) {
		if validator(r.Value).Validate(v) == nil {
			out = append(out, parts(r, v)...)
		}
	}
	return out
}

// stream is the body of Server-Sent Events: each event that is read through it is held against the schema of its method.
type stream struct {
	io.ReadCloser
	complain func(error)
	text     []byte
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.text = append(s.text, p[:n]...)
	for {
		event, rest, ok := bytes.Cut(s.text, []byte("\n\n"))
		if !ok {
			return n, err
		}
		s.text = rest
		s.complain(conformEvent(string(event)))
	}
}

func conformEvent(text string) error {
	event := map[string]any{"method": ""}
	var data []string
	for line := range strings.Lines(text) {
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		switch value = strings.TrimPrefix(value, " "); field {
		case "event":
			event["method"] = value
		case "id":
			event["cursor"] = value
		case "data":
			data = append(data, value)
		}
	}
	if len(event) == 1 && data == nil { // a comment, which keeps the line open, or how long to wait before coming back
		return nil
	}
	event["params"] = decoded([]byte(strings.Join(data, "\n")))
	for _, s := range document().Components.Schemas["Event"].Value.OneOf {
		method := s.Value.Properties["method"].Value
		if slices.Contains(append(method.Enum, method.Const), event["method"]) {
			if err := conformTo(s, event); err != nil {
				return fmt.Errorf("event %q: %w", text, err)
			}
			return nil
		}
	}
	return fmt.Errorf("event %q: schemas/Event has no such method", text)
}

func TestMain(m *testing.M) { redistest.Main(complete{m}) }

// complete fails a run of the whole package in which no test saw an operation succeed that the document has.
type complete struct{ *testing.M }

func (c complete) Run() int {
	code := c.M.Run()
	if code != 0 {
		return code
	}
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if f := flag.Lookup(name); f.Value.String() != "" {
			return code
		}
	}
	for path, item := range document().Paths.Map() {
		for method, op := range item.Operations() {
			if _, ok := succeeded.Load(op.OperationID); !ok && op.OperationID != "connect" { // which is no plain request
				fmt.Fprintf(os.Stderr, "openapi.yaml: no test saw %s (%s %s) succeed\n", op.OperationID, method, path)
				code = 1
			}
		}
	}
	return code
}
