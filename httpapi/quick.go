package httpapi

import (
	"strconv"

	"github.com/hearthstore/hearth/internal/jsonscan"
)

// The params of calls that come often are read without encoding/json as long as they are as clients write them: known names
// and values of the right types; of several of one name the last counts, as there. All else is left to encoding/json, which
// decides what it means or what is wrong.

// quick reads an object's members by take, which gets a name without its quotes and says whether it could; false if the
// object has to be read otherwise.
func quick(object []byte, take func(name, value []byte) bool) bool {
	m := jsonscan.Members{Text: object, At: jsonscan.Space(object, 0)}
	for name, value, ok := m.Next(); ok; name, value, ok = m.Next() {
		if !take(name[1:len(name)-1], value) {
			return false
		}
	}
	return m.At >= 0
}

// quickText reads a string that is plain.
func quickText(into *string, value []byte) bool {
	v, ok := plainText(value)
	if ok {
		*into = string(v)
	}
	return ok
}

// quickKey is quickText for what may be absent.
func quickKey(into **string, value []byte) bool {
	v, ok := plainText(value)
	if ok {
		s := string(v)
		*into = &s
	}
	return ok
}

// quickTexts reads a short list of strings that are plain.
func quickTexts(into *[]string, value []byte) bool {
	if value[0] != '[' || len(value) > shortText {
		return false
	}
	list := []string{}
	for i := jsonscan.Space(value, 1); value[i] != ']'; i = jsonscan.Space(value, i) {
		end := jsonscan.String(value, i)
		if end < 0 {
			return false
		}
		text, ok := plainText(value[i:end])
		if !ok {
			return false
		}
		list = append(list, string(text))
		if i = jsonscan.Space(value, end); value[i] == ',' {
			i++
		}
	}
	*into = list
	return true
}

func (q *joinParams) quick(params []byte) bool {
	return quick(params, func(name, value []byte) bool {
		switch string(name) {
		case "name":
			return quickKey(&q.Name, value)
		case "data":
			return quickKey(&q.Data, value)
		case "groups":
			return quickTexts(&q.Groups, value)
		case "listen":
			return quickTexts(&q.Listen, value)
		}
		return false
	})
}

func (q *keyParams) quick(params []byte) bool {
	return quick(params, func(name, value []byte) bool { return string(name) == "key" && quickKey(&q.Key, value) })
}

func (q *setParams) quick(params []byte) bool {
	return quick(params, func(name, value []byte) bool {
		switch string(name) {
		case "key":
			return quickKey(&q.Key, value)
		case "data":
			q.Data = value
			return true
		case "op_id":
			return quickText(&q.OpID, value)
		case "if_change_version":
			n, err := strconv.ParseUint(string(value), 10, 64)
			q.IfVersion = &n
			return err == nil
		}
		return false
	})
}

func (q *broadcastParams) quick(params []byte) bool {
	return quick(params, func(name, value []byte) bool {
		switch string(name) {
		case "info":
			return value[0] == '{' && quick(value, func(name, value []byte) bool {
				switch string(name) {
				case "message":
					q.Info.Message = value
					return true
				case "type":
					return quickText(&q.Info.Type, value)
				}
				return false
			})
		case "op_id":
			return quickText(&q.OpID, value)
		case "peer_id":
			return quickText(&q.PeerID, value)
		case "message_id":
			return quickText(&q.MessageID, value)
		}
		return false
	})
}
