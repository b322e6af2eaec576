package httpapi

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"

	"github.com/labstack/echo/v4"
)

// description is the HTTP side for machines: see openapi.yaml.
//
//go:embed openapi.yaml
var description []byte

// descriptionTag is another one for every other description, so a client asks whether its copy is still good.
var descriptionTag = func() string {
	sum := sha256.Sum256(description)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}()

func (s *Server) openAPI(c echo.Context) error {
	h := c.Response().Header()
	h.Set("ETag", descriptionTag)
	h.Set("Cache-Control", "no-cache") // may be kept, but is asked for
	if noneMatch(c.Request(), descriptionTag) {
		return c.NoContent(http.StatusNotModified)
	}
	return c.Blob(http.StatusOK, "application/yaml", description)
}
