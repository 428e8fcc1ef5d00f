package schema

// refusedRules look into sources of projected volumes that are refused: their own mistakes
// are worth knowing where the manifest is to be used in a cluster too.
func (d document) refusedRules(key string, value any, p fieldPath) {
	switch key {
	case "clusterTrustBundle":
		d.trustBundleRules(value, p)
	case "podCertificate":
		d.certificateRules(value, p)
	}
}

func (d document) trustBundleRules(value any, p fieldPath) {
	var m struct {
		Name       *string `json:"name"`
		SignerName *string `json:"signerName"`
		Path       string  `json:"path"`
	}
	if decode(value, &m) != nil {
		return
	}
	switch {
	case m.Name != nil && m.SignerName != nil:
		d.invalid(p, "only one of name and signerName may be used")
	case m.Name != nil && *m.Name == "":
		d.invalid(p.key("name"), "required: must be a valid object name")
	case m.Name != nil:
		d.objectName(*m.Name, p.key("name"))
	case m.SignerName == nil:
		d.invalid(p, "required: either name or signerName must be specified")
	}
	d.relative(m.Path, p.key("path"))
}

func (d document) certificateRules(value any, p fieldPath) {
	var m struct {
		KeyType              string `json:"keyType"`
		CredentialBundlePath string `json:"credentialBundlePath"`
		KeyPath              string `json:"keyPath"`
		CertificateChainPath string `json:"certificateChainPath"`
	}
	if decode(value, &m) != nil {
		return
	}
	d.oneOf(m.KeyType, []string{"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"}, p.key("keyType"))
	d.relative(m.CredentialBundlePath, p.key("credentialBundlePath"))
	d.relative(m.KeyPath, p.key("keyPath"))
	d.relative(m.CertificateChainPath, p.key("certificateChainPath"))
}
