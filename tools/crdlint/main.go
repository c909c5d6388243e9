// crdlint judges a CustomResourceDefinition and objects against it with the API server's own code.
//
// It reads the CRD's file and, on standard input, one JSON list of cases; it prints one JSON object. A case is an object as a user
// writes it (JSON or YAML text), with the object it replaces where there is one, and is taken through what the API server
// does: strict decoding, pruning, defaulting, schema, list types, CEL with its cost budget.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/yaml"
)

// Case is one write to judge.
type Case struct {
	// Text is the object, as YAML or JSON.
	Text string `json:"text"`
	// Old is the stored object it replaces; without it the write is a create.
	Old string `json:"old,omitempty"`
	// Status says that the write goes to the status subresource.
	Status bool `json:"status,omitempty"`
}

// Verdict is what the API server would say.
type Verdict struct {
	// Errors are the refusals; "unknown field" is one, because kubectl validates strictly.
	Errors []Finding `json:"errors"`
	// Stored is the object after pruning and defaulting; absent when it cannot be decoded.
	Stored map[string]any `json:"stored,omitempty"`
}

// Finding is one error.
type Finding struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// Report is the whole output.
type Report struct {
	CRD      []Finding `json:"crd"`
	Verdicts []Verdict `json:"verdicts"`
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file string) error {
	var cases []Case
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		return fmt.Errorf("cases: %w", err)
	}
	crd, err := readCRD(file)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	report := Report{CRD: findings(crdvalidation.ValidateCustomResourceDefinition(context.Background(), crd))}
	if len(report.CRD) == 0 {
		judge, err := newJudge(crd)
		if err != nil {
			return err
		}
		for _, c := range cases {
			verdict, err := judge.verdict(c)
			if err != nil {
				verdict = Verdict{Errors: []Finding{{Detail: err.Error()}}}
			}
			report.Verdicts = append(report.Verdicts, verdict)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

func readCRD(file string) (*apiextensions.CustomResourceDefinition, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	served := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, served); err != nil {
		return nil, err
	}
	scheme.Default(served)
	served.Status.StoredVersions = []string{served.Spec.Versions[0].Name}
	crd := &apiextensions.CustomResourceDefinition{}
	return crd, scheme.Convert(served, crd, nil)
}

// Judge holds what the API server builds once per CRD.
type Judge struct {
	structural *schema.Structural
	create     rest.RESTCreateUpdateStrategy
	status     rest.RESTUpdateStrategy
}

func newJudge(crd *apiextensions.CustomResourceDefinition) (*Judge, error) {
	version := crd.Spec.Versions[0]
	root, err := apiextensions.GetSchemaForVersion(crd, version.Name)
	if err != nil {
		return nil, err
	}
	structural, err := schema.NewStructural(root.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	whole, _, err := validation.NewSchemaValidator(root.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	statusProps := root.OpenAPIV3Schema.Properties["status"]
	status, _, err := validation.NewSchemaValidator(&statusProps)
	if err != nil {
		return nil, err
	}
	kind := runtimeschema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.Kind}
	subresource := &apiextensions.CustomResourceSubresourceStatus{}
	strategy := customresource.NewStrategy(unstructuredTyper{}, true, kind, whole, status, structural, subresource, nil, nil)
	return &Judge{structural, strategy, customresource.NewStatusStrategy(strategy)}, nil
}

func (j *Judge) verdict(c Case) (Verdict, error) {
	object, refused, err := j.decode(c.Text)
	if err != nil {
		return Verdict{}, err
	}
	var old *unstructured.Unstructured
	if c.Old != "" {
		if old, _, err = j.decode(c.Old); err != nil {
			return Verdict{}, fmt.Errorf("old: %w", err)
		}
	}
	refused = append(refused, findings(j.validate(object, old, c.Status))...)
	return Verdict{Errors: refused, Stored: object.Object}, nil
}

func (j *Judge) validate(object, old *unstructured.Unstructured, status bool) field.ErrorList {
	ctx := context.Background()
	switch {
	case status:
		j.status.PrepareForUpdate(ctx, object, old)
		return j.status.ValidateUpdate(ctx, object, old)
	case old != nil:
		j.create.PrepareForUpdate(ctx, object, old)
		return j.create.ValidateUpdate(ctx, object, old)
	default:
		j.create.PrepareForCreate(ctx, object)
		return j.create.Validate(ctx, object)
	}
}

// decode does what the handler does between the wire and the strategy: unknown fields are reported and pruned, nulls of
// fields that are not nullable dropped, defaults filled in.
func (j *Judge) decode(text string) (*unstructured.Unstructured, []Finding, error) {
	asJSON, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return nil, nil, err
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(asJSON); err != nil {
		return nil, nil, err
	}
	options := schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	metadata := object.Object["metadata"]
	refused := []Finding{}
	for _, path := range pruning.PruneWithOptions(object.Object, j.structural, true, options) {
		refused = append(refused, Finding{Field: path, Detail: "unknown field"})
	}
	object.Object["metadata"] = metadata
	defaulting.PruneNonNullableNullsWithoutDefaults(object.Object, j.structural)
	defaulting.Default(object.Object, j.structural)
	return object, refused, nil
}

func findings(errors field.ErrorList) []Finding {
	found := []Finding{}
	for _, e := range errors {
		found = append(found, Finding{Field: e.Field, Detail: e.ErrorBody()})
	}
	return found
}

// unstructuredTyper tells an object's kind from its own fields.
type unstructuredTyper struct{}

func (unstructuredTyper) ObjectKinds(object runtime.Object) ([]runtimeschema.GroupVersionKind, bool, error) {
	return []runtimeschema.GroupVersionKind{object.GetObjectKind().GroupVersionKind()}, false, nil
}

func (unstructuredTyper) Recognizes(runtimeschema.GroupVersionKind) bool { return true }
