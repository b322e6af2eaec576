package httpapi

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/hearthstore/hearth"
)

// requestByBook is parseRequest by encoding/json.
func requestByBook(text []byte) (q request, id json.RawMessage, err *hearth.Error) {
	if uerr := json.Unmarshal(text, &q); uerr != nil {
		if !json.Valid(text) {
			return q, null, hearth.Errorf(hearth.ReasonNotJSON, "the text is not JSON")
		}
		return q, null, hearth.Errorf(hearth.ReasonBadRequest, "a request is an object with a method, a string")
	}
	id, err = q.answerTo()
	return q, id, err
}

// A request is what encoding/json finds in it, and what it finds wrong.
func FuzzRequest(f *testing.F) {
	for _, text := range []string{
		`{"jsonrpc":"2.0","id":17,"method":"broadcast","params":{"info":{"message":{"x":[1,"\u00e9"]}}}}`,
		``, ` `, `null`, ` null `, `5`, `"ping"`, `[]`, `[{}]`, `{}`, `{"id":1,`, `{"id":1}x`, `{"id":1,"method":"ping"} {}`, `{"method":"ping"}`,
		`{"id":1,"method":1}`, `{"id":{},"method":1}`, `{"id":{},"method":"a"}`, `{"id":[],"method":"a"}`, `{"id":true,"method":"a"}`,
		`{"id":false}`, `{"id":null,"method":"ping"}`, `{"id":"a\"ü","method":"ping"}`, `{"id":-1.50e3,"method":"ping"}`,
		`{"ID":1,"METHOD":"ping","Params":{}}`, `{"id":1,"ID":2,"method":"a","Method":"b"}`, `{"method":"a","method":null}`, `{"method":"a","method":1}`,
		`{"m\u0065thod":"p\u0069ng","\u0069d":1}`, `{"param\u017f":1,"method":"a","id":1}`, `{"paramſ":1,"method":"a","id":1}`, `{"params":null,"method":"a"}`,
		`{"method":"\ud800"}`, "{\"method\":\"\xff\"}", "{\"m\xffethod\":\"a\"}", `{"method":"é"}`, `{"method":""}`, `{"method":"nope","id":1,"x":{"id":2}}`,
		` { "id" : 1 , "method" : "ping" , "params" : [ 1 , 2 ] } `, `{"id":1,"method":"ping",}`, `{"id":01,"method":"ping"}`, `{"İd":1}`, `{"ıd":1}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		q, id, err := parseRequest(text)
		want, wantID, wantErr := requestByBook(text)
		same := (err == nil) == (wantErr == nil) && (err == nil || *err == *wantErr)
		if !same || string(id) != string(wantID) || (id == nil) != (wantID == nil) {
			t.Fatalf("%q has the id %s and is %v, not %s and %v", text, id, err, wantID, wantErr)
		}
		if err == nil && (q.Method != want.Method || string(q.Params) != string(want.Params)) {
			t.Fatalf("%q is %s with %s, not %s with %s", text, q.Method, q.Params, want.Method, want.Params)
		}
	})
}

// Params that are read quickly are what encoding/json finds in them.
func FuzzQuickParams(f *testing.F) {
	for _, text := range []string{
		`{}`, ` { } `, `null`, `[]`, `5`, ``, `{"key":"k"}`, `{"key":"k","key":"l"}`, `{"Key":"k"}`, `{"key":null}`, `{"key":5}`, `{"key":"a\n"}`, "{\"key\":\"\xff\"}",
		`{"key":"é","data":{"a": 1},"op_id":"o","if_change_version":7}`, `{"data":null}`, `{"data":1,"data":2}`, `{"if_change_version":-1}`,
		`{"if_change_version":1.0}`, `{"if_change_version":18446744073709551616}`, `{"op_id":""}`, `{"op_id":"","op_id":"a"}`, `{"ttl_ms":5,"owned":true}`,
		`{"info":{"message":"m","type":"chat"},"peer_id":"p","message_id":"i"}`, `{"info":{},"info":{}}`, `{"info":null}`, `{"info":{"message":1,"message":null}}`,
		`{"info":{"type":null}}`, `{"roles":["a"],"info":{"message":{}}}`, `{"lock":{"name":"l","token":1}}`, `{"info":[]}`, `{"if_change_version":0}`,
		`{"info":{"message":1,"type":"a"},"info":{"type":"b"}}`, `{"op_id":"a","op_id":"b","key":"k","if_change_version":1,"if_change_version":2}`,
		`{"info":{"message":1,"message":{"a":2}},"message_id":"a","message_id":"b"}`, `{"op_id":"a","op_id":null}`, `{"name":"n","listen":["*"]}`,
		`{"listen":[],"groups":[ "a" , "é" ],"data":""}`, `{"listen":["a\n"]}`, `{"listen":[null]}`, `{"listen":["a",["b"]],"groups":null}`, `{"listen":["a"],"listen":["b"]}`, `{"key":"a","key":null}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !json.Valid(text) {
			return // the request has been checked
		}
		var set, wantSet setParams
		sameParams(t, text, set.quick(text), &set, &wantSet)
		var get, wantGet keyParams
		sameParams(t, text, get.quick(text), &get, &wantGet)
		var join, wantJoin joinParams
		sameParams(t, text, join.quick(text), &join, &wantJoin)
		var send, wantSend broadcastParams
		sameParams(t, text, send.quick(text), &send, &wantSend)
	})
}

func sameParams(t *testing.T, text []byte, quick bool, got, want any) {
	t.Helper()
	if !quick {
		return
	}
	if err := json.Unmarshal(text, want); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%q is read as %+v, not %+v: %v", text, got, want, err)
	}
}
