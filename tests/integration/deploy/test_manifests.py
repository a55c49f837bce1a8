# SPDX-License-Identifier: Apache-2.0
"""deploy/: one file and the folder are the same; the least rights; the strictest pods; versions that hold on 1.20 too."""
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from deploy_case import DEPLOY, SOURCE, read_documents

FLAT = DEPLOY / "podvisor.yaml"
# Group and version of what is served from 1.20 to today.
EVERYWHERE = {"v1", "apps/v1", "rbac.authorization.k8s.io/v1", "apiextensions.k8s.io/v1", "scheduling.k8s.io/v1",
              "networking.k8s.io/v1"}
# What would let its holder become more than it is: none of it is granted to anybody here.
DANGEROUS = {"secrets", "pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers", "nodes/proxy",
             "serviceaccounts/token", "clusterroles", "clusterrolebindings", "roles", "rolebindings",
             "certificatesigningrequests", "mutatingwebhookconfigurations", "validatingwebhookconfigurations",
             "customresourcedefinitions"}
OPERATOR_MAY = {
    ("kubevirt.io", "virtualmachines"): {"list", "watch", "update"},
    ("kubevirt.io", "virtualmachines/status"): {"update"},
    ("kubevirt.io", "virtualmachines/finalizers"): {"update"},
    ("kubevirt.io", "virtualmachineinstances"): {"list", "watch", "create", "update", "delete"},
    ("kubevirt.io", "virtualmachineinstances/finalizers"): {"update"},
    ("", "pods"): {"get", "list", "watch", "create", "delete"},
    ("", "pods/status"): {"patch"},
    ("", "persistentvolumeclaims"): {"list", "watch"},
    ("", "nodes"): {"list", "watch"},
    ("events.k8s.io", "events"): {"create", "patch"},
}


def identity(obj):
    return obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def granted(role):
    """(group, resource) to verbs."""
    rights = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                rights.setdefault((group, resource), set()).update(rule["verbs"])
    return rights


class Manifests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.objects = read_documents(FLAT)
        cls.by_name = {identity(obj): obj for obj in cls.objects}
        cls.version = re.search(r"project\(podvisor VERSION ([\d.]+)", (SOURCE / "CMakeLists.txt").read_text())[1]

    def of_kind(self, *kinds):
        return [obj for obj in self.objects if obj["kind"] in kinds]

    def pods(self):
        """(namespace, name, pod spec) of all workloads."""
        for obj in self.of_kind("Deployment", "DaemonSet"):
            yield obj["metadata"]["namespace"], obj["metadata"]["name"], obj["spec"]["template"]["spec"]

    def test_the_one_file_is_fresh(self):
        with tempfile.TemporaryDirectory(prefix="flatten-") as folder:
            fresh = pathlib.Path(folder) / "podvisor.yaml"
            done = subprocess.run([SOURCE / "tools/flatten-manifests", "--output", fresh], capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue(fresh.read_text() == FLAT.read_text(), f"{FLAT} is stale: cmake --build --preset dev --target manifests")

    def kustomize(self, folder):
        with tempfile.TemporaryDirectory(prefix="kustomize-") as work:
            output = pathlib.Path(work) / "all.yaml"
            done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            output.write_text(done.stdout)
            return {identity(obj): obj for obj in read_documents(output)}

    @unittest.skipUnless(shutil.which("kubectl"), "there is no kubectl here")
    def test_the_one_file_is_what_kustomize_makes(self):
        self.assertEqual(self.kustomize(DEPLOY / "base"), self.by_name)

    @unittest.skipUnless(shutil.which("kubectl"), "there is no kubectl here")
    def test_overlay_dev(self):
        """Other images, never pulled; else nothing is different."""
        objects = self.kustomize(DEPLOY / "overlays/dev")
        self.assertEqual(set(objects), set(self.by_name))
        different = {name[2] for name, obj in objects.items() if obj != self.by_name[name]}
        self.assertEqual(different, {"podvisor-operator", "podvisor-device-plugin"})
        for kind, namespace, name in (("Deployment", "podvisor", "operator"), ("DaemonSet", "podvisor-node", "device-plugin")):
            container = objects[kind, namespace, f"podvisor-{name}"]["spec"]["template"]["spec"]["containers"][0]
            self.assertEqual((container["image"], container["imagePullPolicy"]), (f"podvisor/{name}:dev", "Never"))
        environment = objects["Deployment", "podvisor", "podvisor-operator"]["spec"]["template"]["spec"]["containers"][0]["env"]
        self.assertIn({"name": "PODVISOR_LAUNCHER_IMAGE", "value": "podvisor/launcher:dev"}, environment)
        self.assertIn({"name": "PODVISOR_LAUNCHER_PULL_POLICY", "value": "Never"}, environment)

    def test_versions_of_kubernetes(self):
        for obj in self.objects:
            self.assertIn(obj["apiVersion"], EVERYWHERE, identity(obj))

    def test_names_are_unique_and_namespaces_exist(self):
        self.assertEqual(len(self.by_name), len(self.objects))
        namespaces = {obj["metadata"]["name"] for obj in self.of_kind("Namespace")}
        for obj in self.objects:
            if "namespace" in obj["metadata"]:
                self.assertIn(obj["metadata"]["namespace"], namespaces, identity(obj))

    def test_images_are_of_this_version(self):
        text = FLAT.read_text()
        images = set(re.findall(r"podvisor/(?:operator|launcher|device-plugin)\b\S*", text)) - {"podvisor/device-plugin"}
        self.assertEqual(images, {f"podvisor/{name}:{self.version}" for name in ("operator", "launcher", "device-plugin")})

    def test_no_role_has_a_wildcard_or_a_way_up(self):
        roles = self.of_kind("Role", "ClusterRole")
        self.assertTrue(roles)
        for role in roles:
            for (group, resource), verbs in granted(role).items():
                at = f"{identity(role)}: {group}/{resource} {verbs}"
                self.assertNotIn("*", {group, resource, *verbs}, at)
                self.assertNotIn(resource, DANGEROUS, at)
                self.assertFalse(verbs & {"impersonate", "bind", "escalate"}, at)

    def test_what_the_operator_may(self):
        self.assertEqual(granted(self.by_name["ClusterRole", "", "podvisor-operator"]), OPERATOR_MAY)
        leases = self.by_name["Role", "podvisor", "podvisor-operator"]["rules"]
        self.assertEqual([(rule["verbs"], rule.get("resourceNames")) for rule in leases],
                         [(["create"], None), (["get", "update"], ["podvisor-operator"])])

    def test_what_the_device_plugin_may(self):
        self.assertEqual(granted(self.by_name["ClusterRole", "", "podvisor-device-plugin"]), {("", "nodes"): {"patch"}})

    def test_what_pods_may_have_of_the_node(self):
        """No more than machines use: any pod of the cluster can ask for it."""
        spec = next(spec for _, name, spec in self.pods() if name == "podvisor-device-plugin")
        self.assertIn("--resources=kvm,tun", spec["containers"][0]["args"])

    def test_bindings_fit(self):
        for binding in self.of_kind("RoleBinding", "ClusterRoleBinding"):
            namespace = binding["metadata"].get("namespace", "")
            self.assertIn((binding["roleRef"]["kind"], namespace, binding["roleRef"]["name"]), self.by_name)
            for subject in binding["subjects"]:
                self.assertIn((subject["kind"], subject["namespace"], subject["name"]), self.by_name)

    def test_users_roles_are_aggregated(self):
        for name in ("admin", "edit", "view"):
            role = self.by_name["ClusterRole", "", f"kubevirt.io:{name}"]
            self.assertEqual(role["metadata"]["labels"][f"rbac.authorization.k8s.io/aggregate-to-{name}"], "true")
        self.assertEqual({verb for verbs in granted(role).values() for verb in verbs}, {"get", "list", "watch"})

    def test_every_container_is_confined(self):
        for _, name, pod in self.pods():
            self.assertFalse(pod["enableServiceLinks"], name)
            self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & set(pod), name)
            self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"}, name)
            for container in pod["containers"]:
                context = container["securityContext"]
                self.assertEqual(context["capabilities"], {"drop": ["ALL"]}, name)
                self.assertEqual((context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]), (False, True), name)
                self.assertNotIn("privileged", context)
                self.assertEqual(set(container["resources"]["requests"]), {"cpu", "memory"}, name)
                self.assertEqual(set(container["resources"]["limits"]), {"memory"}, name)
                self.assertEqual(container["imagePullPolicy"], "IfNotPresent", name)

    def test_only_the_device_plugins_namespace_is_privileged(self):
        levels = {obj["metadata"]["name"]: obj["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
                  for obj in self.of_kind("Namespace")}
        self.assertEqual(levels, {"podvisor": "restricted", "podvisor-node": "privileged"})
        for namespace, name, pod in self.pods():
            kinds = {kind for volume in pod.get("volumes", []) for kind in volume if kind != "name"}
            if levels[namespace] == "restricted":
                self.assertTrue(pod["securityContext"]["runAsNonRoot"], name)
                self.assertLessEqual(kinds, {"configMap", "downwardAPI", "emptyDir", "projected", "secret"}, name)
            else:
                self.assertEqual(kinds, {"hostPath"}, name)

    def test_selectors_find_the_pods(self):
        for obj in self.of_kind("Deployment", "DaemonSet"):
            labels = obj["spec"]["template"]["metadata"]["labels"].items()
            self.assertLessEqual(obj["spec"]["selector"]["matchLabels"].items(), labels)
            name = obj["metadata"]["namespace"], obj["metadata"]["name"]
            policy = self.by_name[("NetworkPolicy", *name)]
            self.assertLessEqual(policy["spec"]["podSelector"]["matchLabels"].items(), labels)
        operator = self.by_name["Deployment", "podvisor", "podvisor-operator"]["spec"]["template"]["metadata"]["labels"].items()
        service = self.by_name["Service", "podvisor", "podvisor-operator-metrics"]
        self.assertLessEqual(service["spec"]["selector"].items(), operator)
        for name in ("poddisruptionbudget.yaml", "poddisruptionbudget-1.20.yaml"):
            budget, = read_documents(DEPLOY / "extras" / name)
            self.assertLessEqual(budget["spec"]["selector"]["matchLabels"].items(), operator)
        monitor, = read_documents(DEPLOY / "extras/servicemonitor.yaml")
        self.assertLessEqual(monitor["spec"]["selector"]["matchLabels"].items(), service["metadata"]["labels"].items())

    def test_budgets(self):
        """The same budget in the two versions of its API: none is served from 1.20 to today."""
        new, = read_documents(DEPLOY / "extras/poddisruptionbudget.yaml")
        old, = read_documents(DEPLOY / "extras/poddisruptionbudget-1.20.yaml")
        self.assertEqual((new.pop("apiVersion"), old.pop("apiVersion")), ("policy/v1", "policy/v1beta1"))
        self.assertEqual(new, old)

    def test_everything_is_labelled(self):
        for obj in self.objects:
            self.assertEqual(obj["metadata"].get("labels", {}).get("app.kubernetes.io/part-of"), "podvisor", identity(obj))


if __name__ == "__main__":
    unittest.main()
