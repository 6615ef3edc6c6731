package node_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"hubstream/cmd/api/node"
)

// documents reads all documents of a file of deploy/.
func documents(t *testing.T, name string) (all []map[string]any) {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/" + name)
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document map[string]any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, document)
	}
}

// at follows keys, and indexes of lists.
func at(value any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := value.(map[string]any)
			value = m[step]
		case int:
			list, _ := value.([]any)
			if step >= len(list) {
				return nil
			}
			value = list[step]
		}
	}
	return value
}

// What Kubernetes is told are settings that a node takes, a grace that is longer than the drain, and probes that exist.
func TestKubernetesManifestFitsTheNode(t *testing.T) {
	t.Parallel()
	kinds := map[string]map[string]any{}
	for _, d := range documents(t, "kubernetes.yaml") {
		if name := at(d, "metadata", "name"); name == "hubstream" {
			kinds[at(d, "kind").(string)] = d
		}
	}
	settings := map[string]string{}
	var environ []string
	for name, value := range at(kinds["ConfigMap"], "data").(map[string]any) {
		settings[name] = value.(string)
		environ = append(environ, name+"="+value.(string))
	}
	pod := at(kinds["Deployment"], "spec", "template", "spec")
	container := at(pod, "containers", 0)
	named := at(container, "env", 0, "name").(string)
	settings[named] = "hubstream-5d4f7c9b8-abcde"
	// Keys are the Secret's alone: one in a file, which may change, one in the environment.
	const key, admin = "an-access-key-of-the-tests", "an-admin-key-of-the-tests"
	secret := at(container, "env", 1, "valueFrom", "secretKeyRef")
	fromSecret := at(container, "env", 1, "name").(string)
	if at(secret, "name") != "hubstream" || at(secret, "key") != "admin-keys" {
		t.Errorf("%s comes from %v", fromSecret, secret)
	}
	settings[fromSecret] = admin
	mount, volume := at(container, "volumeMounts", 0), at(pod, "volumes", 0)
	if path := at(mount, "mountPath").(string) + "/" + at(volume, "secret", "items", 0, "path").(string); path != settings["HUBSTREAM_ACCESS_KEYS_FILE"] ||
		at(mount, "name") != at(volume, "name") || at(volume, "secret", "secretName") != "hubstream" || at(volume, "secret", "items", 0, "key") != "access-keys" {
		t.Errorf("the Secret's access key is in %s, of %v", path, volume)
	}
	settings["HUBSTREAM_ACCESS_KEYS_FILE"] = writeFile(t, key)
	if err := node.CheckEnvironment(append(environ, named+"=x", fromSecret+"=x")); err != nil {
		t.Error(err)
	}
	c, err := node.Parse(nil, func(name string) string { return settings[name] })
	if err != nil {
		t.Fatal(err)
	}
	if c.Node != settings[named] || c.Dev || !slices.Contains(c.AdminKeys, admin) {
		t.Errorf("the node is called %q, development mode %v, with %d admin keys", c.Node, c.Dev, len(c.AdminKeys))
	}
	_, port, _ := net.SplitHostPort(c.MetricsListen)
	if scraped := at(kinds["Deployment"], "spec", "template", "metadata", "annotations", "prometheus.io/port"); scraped != port {
		t.Errorf("Prometheus asks port %v, the metrics are at %s", scraped, port)
	}
	grace := time.Duration(at(pod, "terminationGracePeriodSeconds").(int)) * time.Second
	if grace < c.Drain+5*time.Second {
		t.Errorf("it is killed after %v: the drain takes %v, and the end some seconds", grace, c.Drain)
	}
	probe := at(container, "readinessProbe")
	if seen := time.Duration(at(probe, "periodSeconds").(int)*at(probe, "failureThreshold").(int)) * time.Second; c.DrainNotice <= seen {
		t.Errorf("connections are moved after %v, but that it is not ready is seen after %v", c.DrainNotice, seen)
	}
	n := start(t)
	for probe, want := range map[string]string{"livenessProbe": "/healthz", "readinessProbe": "/readyz"} {
		path, _ := at(container, probe, "httpGet", "path").(string)
		if status, _, _ := n.do("GET", path, ""); path != want || status != 200 {
			t.Errorf("%s asks %q, which answers %d", probe, path, status)
		}
	}
	if at(pod, "securityContext", "runAsNonRoot") != true || at(container, "securityContext", "readOnlyRootFilesystem") != true {
		t.Error("it runs as root, or may write to its root")
	}
	for _, kind := range []string{"Deployment", "Service", "PodDisruptionBudget"} {
		if kinds[kind] == nil {
			t.Errorf("there is no %s", kind)
		}
	}
	if at(kinds["HorizontalPodAutoscaler"], "spec", "scaleTargetRef", "name") != "hubstream" {
		t.Error("the autoscaler scales something else")
	}
}

// The settings of the compose file are ones that a node takes, with keys that come from a file which is in no repository or image.
func TestComposeSettingsAreSettings(t *testing.T) {
	t.Parallel()
	services := at(documents(t, "compose.yaml")[0], "services").(map[string]any)
	nodes := 0
	for name, service := range services {
		environment, ok := at(service, "environment").(map[string]any)
		if !ok {
			continue
		}
		nodes++
		settings := map[string]string{}
		var environ []string
		for variable, value := range environment {
			settings[variable] = value.(string)
			environ = append(environ, variable+"=x")
		}
		if _, err := node.Parse(nil, func(variable string) string { return settings[variable] }); err == nil {
			t.Errorf("%s starts without a key", name)
		}
		for _, variable := range []string{"HUBSTREAM_ACCESS_KEYS", "HUBSTREAM_ADMIN_KEYS"} {
			settings[variable] = "a-key-of-the-tests-" + variable
			environ = append(environ, variable+"=x")
		}
		c, err := node.Parse(nil, func(variable string) string { return settings[variable] })
		if err := errors.Join(err, node.CheckEnvironment(environ)); err != nil || c.Node != name || c.Listen != "0.0.0.0:8080" {
			t.Errorf("%s: %v, %+v", name, err, c)
		}
		if file := at(service, "env_file", 0); file != "hubstream.env" || at(service, "env_file", 1) != nil {
			t.Errorf("%s has its keys from %v", name, file)
		}
	}
	if nodes != 3 {
		t.Errorf("%d nodes", nodes)
	}
	for file, line := range map[string]string{".gitignore": "/deploy/hubstream.env\n", "deploy/Dockerfile.dockerignore": "**/*.env\n"} {
		if text, err := os.ReadFile("../../../" + file); err != nil || !strings.Contains(string(text), line) {
			t.Errorf("%s does not ignore the file of keys: %v", file, err)
		}
	}
}

// The unit names flags that there are, and waits for the drain; its settings are taken once they have keys.
func TestUnitFitsTheNode(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../deploy/hubstream.service")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../../../deploy/hubstream.toml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.Parse([]string{"-config", writeFile(t, string(example))}, none); err == nil {
		t.Error("a node starts with the keys of the example, which everybody knows")
	}
	file := writeFile(t, strings.ReplaceAll(string(example), "CHANGE-ME", "a-key-of-the-tests-of-32-letters"))
	for line := range strings.Lines(string(text)) {
		for _, key := range []string{"ExecStartPre=/usr/local/bin/hubstream ", "ExecStart=/usr/local/bin/hubstream "} {
			command, ok := strings.CutPrefix(strings.TrimSpace(line), key)
			if !ok {
				continue
			}
			args := strings.Fields(strings.ReplaceAll(command, "${CREDENTIALS_DIRECTORY}/settings", file))
			if args[0] == "check" {
				err = node.Run(t.Context(), args, none, io.Discard, io.Discard)
			} else {
				_, err = node.Parse(args, none)
			}
			if err != nil {
				t.Errorf("%s: %v", command, err)
			}
		}
		if stop, ok := strings.CutPrefix(strings.TrimSpace(line), "TimeoutStopSec="); ok {
			c, _ := node.Parse(nil, none)
			if d, err := time.ParseDuration(stop); err != nil || d < c.Drain+5*time.Second {
				t.Errorf("it is killed after %s, the drain takes %v", stop, c.Drain)
			}
		}
	}
	if n := strings.Count(string(text), "=/usr/local/bin/hubstream "); n != 2 {
		t.Errorf("%d commands", n)
	}
	if !strings.Contains(string(text), "\nSystemCallErrorNumber=") {
		t.Error("a node that tries what the unit does not let it have is killed")
	}
}
