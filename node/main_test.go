package node

import (
	"testing"

	"github.com/hearthstore/hearth/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }
