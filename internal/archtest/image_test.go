package archtest

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The image is the static binary on nothing, run by nobody, and built as `make reproducible` builds.
func TestImage(t *testing.T) {
	file := read(t, "deploy/Dockerfile")
	_, last, ok := strings.Cut(file, "\nFROM scratch\n")
	if !ok || strings.Contains(last, "\nFROM ") {
		t.Fatal("the last stage is not from scratch")
	}
	if bad := regexp.MustCompile(`(?m)^(RUN|ADD|VOLUME) .*`).FindString(last); bad != "" {
		t.Errorf("the image has %q", bad)
	}
	if users := regexp.MustCompile(`(?m)^USER (.*)$`).FindAllStringSubmatch(last, -1); len(users) != 1 ||
		!regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(users[0][1]) {
		t.Errorf("users %q: it must be one, by number and not root", users)
	}
	for _, flag := range []string{"CGO_ENABLED=0 go build", "-trimpath", "-buildvcs=false"} {
		for _, of := range []string{"deploy/Dockerfile", "Makefile"} {
			if !strings.Contains(read(t, of), flag) {
				t.Errorf("%s builds without %s", of, flag)
			}
		}
	}
}

// What runs beside each other by docker compose writes nowhere but where it has to, and may do nothing that it need not.
func TestComposedContainersMayLittle(t *testing.T) {
	var file struct {
		Services map[string]struct {
			ReadOnly   bool     `yaml:"read_only"`
			CapDrop    []string `yaml:"cap_drop"`
			Security   []string `yaml:"security_opt"`
			User       string
			Privileged bool
			Dockerfile struct{ Dockerfile string } `yaml:"build"`
		}
	}
	text := strings.ReplaceAll(read(t, "docker-compose.yml"), "{<<: *environment, ", "{") // which this reader of YAML does not take
	if err := yaml.UnmarshalWithOptions([]byte(text), &file, yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatal(err)
	}
	if len(file.Services) == 0 {
		t.Fatal("no services")
	}
	for name, s := range file.Services {
		own := s.Dockerfile.Dockerfile == "deploy/Dockerfile" // see TestImage
		if !s.ReadOnly || strings.Join(s.CapDrop, " ") != "ALL" || strings.Join(s.Security, " ") != "no-new-privileges:true" || s.Privileged ||
			!own && !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(s.User) {
			t.Errorf("%s may too much: %+v", name, s)
		}
	}
}
