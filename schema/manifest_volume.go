package schema

// Volumes, and where environment variables come from, as they stand in manifests.
type (
	volumeManifest struct {
		Name     string `json:"name"`
		EmptyDir *struct {
			Medium    Medium   `json:"medium"`
			SizeLimit quantity `json:"sizeLimit"`
		} `json:"emptyDir"`
		HostPath *HostPath `json:"hostPath"`
		Secret   *struct {
			SecretName string `json:"secretName"`
			filesManifest
		} `json:"secret"`
		ConfigMap   *namedFiles `json:"configMap"`
		DownwardAPI *struct {
			Items       []downwardFile `json:"items"`
			DefaultMode *int64         `json:"defaultMode"`
		} `json:"downwardAPI"`
		Projected *struct {
			Sources     []projection `json:"sources"`
			DefaultMode *int64       `json:"defaultMode"`
		} `json:"projected"`
		PersistentVolumeClaim *struct {
			ClaimName string `json:"claimName"`
			ReadOnly  bool   `json:"readOnly"`
		} `json:"persistentVolumeClaim"`
		Ephemeral *struct {
			VolumeClaimTemplate *struct {
				Spec claimSpec `json:"spec"`
			} `json:"volumeClaimTemplate"`
		} `json:"ephemeral"`
		Image   *ImageVolume `json:"image"`
		GitRepo *gitManifest `json:"gitRepo"`
	}
	gitManifest struct {
		Repository string `json:"repository"`
		Revision   string `json:"revision"`
		Directory  string `json:"directory"`
	}
	filesManifest struct {
		Items       []keyToPath `json:"items"`
		DefaultMode *int64      `json:"defaultMode"`
		Optional    bool        `json:"optional"`
	}
	keyToPath struct {
		Key  string `json:"key"`
		Path string `json:"path"`
		Mode *int64 `json:"mode"`
	}
	downwardFile struct {
		Path             string       `json:"path"`
		FieldRef         *fieldRef    `json:"fieldRef"`
		ResourceFieldRef *resourceRef `json:"resourceFieldRef"`
		Mode             *int64       `json:"mode"`
	}
	// namedFiles are those of a ConfigMap, or of a projected Secret.
	namedFiles struct {
		Name string `json:"name"`
		filesManifest
	}
	projection struct {
		Secret      *namedFiles `json:"secret"`
		ConfigMap   *namedFiles `json:"configMap"`
		DownwardAPI *struct {
			Items []downwardFile `json:"items"`
		} `json:"downwardAPI"`
		ServiceAccountToken *struct {
			Path              string `json:"path"`
			ExpirationSeconds *int64 `json:"expirationSeconds"`
		} `json:"serviceAccountToken"`
	}
	claimSpec struct {
		AccessModes []string `json:"accessModes"`
		Resources   struct {
			Requests map[string]quantity `json:"requests"`
		} `json:"resources"`
	}

	envManifest struct {
		Name      string     `json:"name"`
		Value     string     `json:"value"`
		ValueFrom *valueFrom `json:"valueFrom"`
	}
	valueFrom struct {
		FieldRef         *fieldRef    `json:"fieldRef"`
		ResourceFieldRef *resourceRef `json:"resourceFieldRef"`
		ConfigMapKeyRef  *keyRef      `json:"configMapKeyRef"`
		SecretKeyRef     *keyRef      `json:"secretKeyRef"`
	}
	fieldRef struct {
		APIVersion string `json:"apiVersion"`
		FieldPath  string `json:"fieldPath"`
	}
	resourceRef struct {
		ContainerName string   `json:"containerName"`
		Resource      string   `json:"resource"`
		Divisor       quantity `json:"divisor"`
	}
	keyRef struct {
		Name     string `json:"name"`
		Key      string `json:"key"`
		Optional bool   `json:"optional"`
	}
	envFromManifest struct {
		Prefix       string  `json:"prefix"`
		ConfigMapRef *envRef `json:"configMapRef"`
		SecretRef    *envRef `json:"secretRef"`
	}
	envRef struct {
		Name     string `json:"name"`
		Optional bool   `json:"optional"`
	}
)
