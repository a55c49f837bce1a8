# SPDX-License-Identifier: Apache-2.0
"""deploy/crds: what crd-gen writes, structural as an API server demands it, and KubeVirt's on the outside."""
import json
import pathlib
import re
import subprocess
import tempfile
import unittest

from deploy_case import BIN, CRDS, SOURCE, read_document

# kubectl apply keeps the whole object, as JSON, in an annotation; all annotations may have 256 KiB.
LARGEST = 250_000
# Rules: apiextensions-apiserver, pkg/apiserver/schema. What must not be in a structural schema at all:
FORBIDDEN = {"$ref", "definitions", "dependencies", "deprecated", "discriminator", "id", "patternProperties", "readOnly",
             "writeOnly", "xml", "uniqueItems"}
# Known to 1.20, so that no API server drops a rule silently.
KNOWN = {"description", "type", "properties", "additionalProperties", "items", "required", "enum", "minimum", "maximum", "maxItems",
         "nullable", "format", "pattern", "anyOf", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
         "x-kubernetes-list-type", "x-kubernetes-list-map-keys"}
INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]


def walk(schema, path=""):
    """Each schema with its path, `[]` for items and `{}` for values of a map."""
    yield path, schema
    for name, member in schema.get("properties", {}).items():
        yield from walk(member, f"{path}.{name}")
    if "items" in schema:
        yield from walk(schema["items"], path + "[]")
    if "additionalProperties" in schema:
        yield from walk(schema["additionalProperties"], path + "{}")


def structural_errors(path, schema):
    """Why a structural schema may not have this node."""
    if FORBIDDEN & set(schema):
        yield f"has {FORBIDDEN & set(schema)}"
    if set(schema) - KNOWN:
        yield f"has {set(schema) - KNOWN}, which 1.20 may not know"
    if schema.get("x-kubernetes-int-or-string"):
        if "type" in schema or schema.get("anyOf") != INT_OR_STRING:
            yield "is int-or-string with a type, or with something else than the one anyOf that is allowed"
    elif "anyOf" in schema:
        yield "has anyOf"
    elif schema.get("type") not in ("object", "array", "string", "integer", "boolean"):
        yield f"is of type {schema.get('type')}"
    if ("items" in schema) != (schema.get("type") == "array"):
        yield "is a list without items, or has items and is none"
    if "properties" in schema and ("additionalProperties" in schema or schema["type"] != "object"):
        yield "has properties beside additionalProperties, or is no object"
    for name in schema.get("required", []):
        if name not in schema.get("properties", {}):
            yield f"requires {name}, which it does not have"
    keys = schema.get("x-kubernetes-list-map-keys")
    if (keys is not None) != (schema.get("x-kubernetes-list-type") == "map"):
        yield "has keys and is no list by key, or the other way round"
    for key in keys or []:
        if key not in schema["items"].get("required", []):
            yield f"is a list by the key {key}, which elements need not have"


class Definitions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.crds = {kind: read_document(path) for kind, path in CRDS.items()}

    def schemas(self):
        for kind, crd in self.crds.items():
            for version in crd["spec"]["versions"]:
                for path, schema in walk(version["schema"]["openAPIV3Schema"]):
                    yield f"{kind} {version['name']} {path}", schema

    def test_they_are_what_crd_gen_writes(self):
        with tempfile.TemporaryDirectory(prefix="crd-gen-") as folder:
            done = subprocess.run([BIN / "crd-gen", SOURCE / "src/crdgen", folder], capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for path in CRDS.values():
                fresh = (pathlib.Path(folder) / path.name).read_text()
                self.assertTrue(fresh == path.read_text(),
                                f"{path} is stale: cmake --build --preset dev --target manifests")

    def test_structural(self):
        for path, schema in self.schemas():
            for error in structural_errors(path, schema):
                self.fail(f"{path} {error}")

    def test_every_field_is_described(self):
        count = 0
        for path, schema in self.schemas():
            for name, member in schema.get("properties", {}).items():
                if re.fullmatch(r"\w+ \w+ ", path) and name == "metadata":
                    self.assertEqual(member, {"type": "object"}, "the API server lets nobody else describe an object's metadata")
                    continue
                count += 1
                text = member.get("description", "")
                self.assertRegex(text, r"^\S(.*\S)?[.]$", f"{path}.{name}")
        self.assertGreater(count, 1000)

    def test_unknown_fields_are_kept_nowhere_beside_known_ones(self):
        """docs/adr/0003: `kubectl explain` of 1.20 shows nothing below a schema that keeps unknown fields."""
        for path, schema in self.schemas():
            if schema.get("x-kubernetes-preserve-unknown-fields"):
                self.assertNotIn("properties", schema, path)

    def test_size(self):
        for kind, crd in self.crds.items():
            self.assertLess(len(json.dumps(crd, separators=(",", ":"))), LARGEST, kind)

    def test_both_versions_are_the_same(self):
        for kind, crd in self.crds.items():
            new, old = crd["spec"]["versions"]
            self.assertEqual((new["name"], new["served"], new["storage"], "deprecated" in new), ("v1", True, True, False))
            self.assertEqual((old["name"], old["served"], old["storage"], old["deprecated"]), ("v1alpha3", True, False, True))
            self.assertEqual(old["deprecationWarning"],
                             "kubevirt.io/v1alpha3 is now deprecated and will be removed in a future release.")
            for part in ("schema", "additionalPrinterColumns", "subresources"):
                self.assertEqual(new.get(part), old.get(part), kind)

    def test_names(self):
        for kind, plural, short in (("VirtualMachine", "virtualmachines", ["vm", "vms"]),
                                    ("VirtualMachineInstance", "virtualmachineinstances", ["vmi", "vmis"])):
            crd = self.crds[kind]
            spec = crd["spec"]
            self.assertEqual(crd["metadata"]["name"], f"{plural}.kubevirt.io")
            self.assertEqual((spec["group"], spec["scope"]), ("kubevirt.io", "Namespaced"))
            self.assertEqual(spec["names"], {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": plural[:-1],
                                             "shortNames": short, "categories": ["all"]})

    def test_columns_and_subresources(self):
        """As KubeVirt: a machine has a status subresource, an instance has none, neither scales."""
        def columns(kind):
            return [(c["name"], c.get("priority", 0)) for c in self.crds[kind]["spec"]["versions"][0]["additionalPrinterColumns"]]
        self.assertEqual(columns("VirtualMachine"), [("Age", 0), ("Status", 0), ("Ready", 0)])
        self.assertEqual(columns("VirtualMachineInstance"), [("Age", 0), ("Phase", 0), ("IP", 0), ("NodeName", 0), ("Ready", 0),
                                                             ("Live-Migratable", 1), ("Paused", 1)])
        self.assertEqual(self.crds["VirtualMachine"]["spec"]["versions"][0]["subresources"], {"status": {}})
        self.assertNotIn("subresources", self.crds["VirtualMachineInstance"]["spec"]["versions"][0])

    def test_a_template_is_an_instance(self):
        """spec.template.spec of a machine and spec of an instance are one schema."""
        def properties(kind):
            return self.crds[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        template = dict(properties("VirtualMachine")["template"]["properties"]["spec"], description="")
        instance = self.crds["VirtualMachineInstance"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        self.assertEqual(template, dict(instance, description=""))


if __name__ == "__main__":
    unittest.main()
