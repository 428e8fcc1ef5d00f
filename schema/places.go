package schema

import "go.yaml.in/yaml/v3"

// places say where in a document's text its values stand.
type places struct {
	// text is what they are found in, and line the one where its value begins, at column 1. Both
	// serve while there is no root: most documents are in order, and nobody asks for more.
	text []byte
	line int
	// root is the tree of nodes, nil until it is needed.
	root *yaml.Node
}

// top returns the node of the document's value.
func (s *places) top() *yaml.Node {
	if s.root == nil {
		s.root = new(yaml.Node)
		if err := yaml.Unmarshal(s.text, s.root); err != nil { // it was read before
			s.root = &yaml.Node{Kind: yaml.MappingNode, Line: s.line, Column: 1}
		}
	}
	if s.root.Kind == yaml.DocumentNode && len(s.root.Content) > 0 {
		return s.root.Content[0]
	}
	return s.root
}

// position finds the line and column of what p leads to: of its key where it has one.
func (d document) position(p fieldPath) (line, column int) {
	if len(p) == 0 && d.places.root == nil {
		return d.places.line + d.line, 1
	}
	node := d.places.top()
	at := node
	for _, step := range p {
		node = resolve(node)
		key, child := descend(node, step)
		if child == nil {
			break
		}
		node, at = child, key
	}
	return at.Line + d.line, at.Column
}

// descend returns the child of a node, and the node that marks where it begins.
func descend(node *yaml.Node, step any) (mark, child *yaml.Node) {
	switch s := step.(type) {
	case plainKey:
		step = string(s)
	case hiddenKey:
		step = string(s)
	}
	switch s := step.(type) {
	case int:
		if node.Kind == yaml.SequenceNode && s < len(node.Content) {
			return node.Content[s], node.Content[s]
		}
	case string:
		if node.Kind != yaml.MappingNode {
			return nil, nil
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == s {
				return node.Content[i], node.Content[i+1]
			}
		}
	}
	return nil, nil
}

func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode && node.Alias != nil {
		return node.Alias
	}
	return node
}
