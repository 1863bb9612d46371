package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readYAML reads a mapping. It looks at the document's nodes, not at what the library would make of them, so that texts
// count as they are written.
func readYAML(file string, data []byte) ([]Setting, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, yamlError(file, err)
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, fmt.Errorf("%s: a second document begins: there can be one only", Position{file, second.Line})
	case !errors.Is(err, io.EOF):
		return nil, yamlError(file, err)
	}
	settings, err := settingsOf(file, document.Content[0])
	if err == nil && len(settings) == 1 && settings[0].Name == "config" {
		if node := resolved(settings[0].Value.(yamlValue).Node); node.Kind == yaml.MappingNode {
			return settingsOf(file, node)
		}
	}
	return settings, err
}

// settingsOf reads a mapping; null is what a file of comments has.
func settingsOf(file string, node *yaml.Node) ([]Setting, error) {
	if node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null" {
		return nil, nil
	}
	if node.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: this is not NAME: VALUE", Position{file, node.Line})
	}
	var settings []Setting
	for i := 0; i < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		where := Position{file, name.Line}
		if name.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("%s: this is not NAME: VALUE", where)
		}
		settings = append(settings, Setting{name.Value, where, yamlValue{value}})
	}
	return settings, nil
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// yamlError is an error of the library with the position in front.
func yamlError(file string, err error) error {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		if line, convErr := strconv.Atoi(m[1]); convErr == nil {
			return fmt.Errorf("%s: this is no YAML: %s", Position{file, line}, m[2])
		}
	}
	return fmt.Errorf("%s: this is no YAML: %w", file, err)
}

// yamlValue is a node as it stands in the file.
type yamlValue struct{ *yaml.Node }

func (v yamlValue) Switch() (bool, error) {
	text, err := scalar(v.Node, "!!bool", "!!str", "!!int")
	if err != nil {
		return false, err
	}
	return switchOf(text)
}

func (v yamlValue) Text() (string, error) {
	return scalar(v.Node, "!!str", "!!int", "!!float", "!!timestamp")
}

// List is a sequence; one text is a list of one item.
func (v yamlValue) List() ([]string, error) {
	node := resolved(v.Node)
	if node.Kind != yaml.SequenceNode {
		item, err := v.Text()
		return []string{item}, err
	}
	items := []string{}
	for _, n := range node.Content {
		item, err := (yamlValue{n}).Text()
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// scalar returns the text of a node that has one of these types.
func scalar(node *yaml.Node, tags ...string) (string, error) {
	node = resolved(node)
	if node.Kind != yaml.ScalarNode {
		return "", fmt.Errorf("%s stands where one value shall", kinds[node.Kind])
	}
	tag := node.ShortTag()
	for _, t := range tags {
		if t == tag {
			return node.Value, nil
		}
	}
	switch tag {
	case "!!null":
		return "", errors.New(`there is no value ("" is an empty one)`)
	case "!!bool":
		return "", fmt.Errorf("%s is yes or no in YAML: put a text that looks so in quotes", node.Value)
	}
	return "", fmt.Errorf("%q has the type %s, which no setting has", node.Value, tag)
}

var kinds = map[yaml.Kind]string{yaml.SequenceNode: "a list", yaml.MappingNode: "a mapping"}

// resolved is what an alias stands for, or the node itself.
func resolved(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

func writeYAML(entries []Entry) ([]byte, error) {
	mapping := &yaml.Node{Kind: yaml.MappingNode}
	for _, e := range entries {
		value, err := valueNode(e.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name, err)
		}
		mapping.Content = append(mapping.Content, textNode(e.Name), value)
	}
	return yaml.Marshal(mapping)
}

func valueNode(value any) (*yaml.Node, error) {
	switch v := value.(type) {
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}, nil
	case string:
		return textNode(v), nil
	case []string:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, item := range v {
			list.Content = append(list.Content, textNode(item))
		}
		return list, nil
	}
	return nil, fmt.Errorf("a %T is no value", value)
}

// textNode is a text. In quotes are what other readers take for yes or no, and what has several lines: of texts that begin
// with an empty line the library would write blocks that are read as something else.
func textNode(text string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if _, err := switchOf(text); err == nil || strings.Contains(text, "\n") {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}
