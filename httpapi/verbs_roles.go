package httpapi

// roleChangeRequest gives another peer a role, or asks it to take one; with roles, what 100ms's clients send for many at
// once, all peers that have one of them.
func roleChangeRequest(k *call) ([]byte, error) {
	var q struct {
		opID
		RequestedFor string   `json:"requested_for"`
		Roles        []string `json:"roles"`
		Role         string   `json:"role"`
		Force        bool     `json:"force"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	n, c := k.conn.srv.node, k.member.Caller(q.OpID)
	if q.RequestedFor == "" && len(q.Roles) > 0 {
		return empty, n.ChangeRoles(k.conn.ctx, c, q.Roles, q.Role, q.Force)
	}
	if q.Force {
		_, err := n.SetRole(k.conn.ctx, c, q.RequestedFor, q.Role)
		return empty, err
	}
	return empty, n.AskRole(k.conn.ctx, c, q.RequestedFor, q.Role)
}

// roleChange accepts what on-role-change-request asked.
func roleChange(k *call) ([]byte, error) {
	var q struct {
		opID
		RequestedBy string `json:"requested_by"`
		Role        string `json:"role"`
		Token       string `json:"token"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	p, err := k.conn.srv.node.AcceptRole(k.conn.ctx, k.member.Caller(q.OpID), q.RequestedBy, q.Role, q.Token)
	if err != nil {
		return nil, err
	}
	return p.AppendJSON(nil), nil
}
