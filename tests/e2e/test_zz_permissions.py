"""What the operator and the device plugin may do is what they did: the API server's audit log says so. Runs last."""
import json
import pathlib
import unittest

import lib

# Asked for by others on the operator's behalf: admission (OwnerReferencesPermissionEnforcement) of clusters that have it.
BY_ADMISSION = {("kubevirt.io", "virtualmachines/finalizers", "update"),
                ("kubevirt.io", "virtualmachineinstances/finalizers", "update")}


def used(user):
    """The (group, resource, verb) of a user's calls that were allowed, and of those that were not."""
    log = pathlib.Path(lib.run(lib.CLUSTER, "logs", "audit").stdout.strip())
    allowed, denied = set(), set()
    for path in sorted(log.parent.glob("audit*.log")):
        for line in path.read_text().splitlines():
            event = json.loads(line)
            if event["user"]["username"] != user or "objectRef" not in event:
                continue
            ref = event["objectRef"]
            resource = ref["resource"] + ("/" + ref["subresource"] if "subresource" in ref else "")
            decision = event["annotations"].get("authorization.k8s.io/decision")
            (allowed if decision == "allow" else denied).add((ref.get("apiGroup", ""), resource, event["verb"]))
    return allowed, denied


def granted(kind, name, *words):
    rules = json.loads(lib.kubectl("get", kind, name, *words, "-o", "json").stdout)["rules"]
    return {(group, resource, verb) for rule in rules for group in rule["apiGroups"] for resource in rule["resources"]
            for verb in rule["verbs"]}


class Permissions(unittest.TestCase):
    def check(self, user, given):
        allowed, denied = used(user)
        self.assertTrue(allowed, f"{user} called nothing")
        # What is granted is refused only by an API server that has just started and knows no roles yet.
        self.assertEqual(denied - given, set(), f"{user} was refused")
        wildcards = [rule for rule in given if "*" in "".join(rule)]
        self.assertEqual(wildcards, [])
        idle = given - allowed - BY_ADMISSION
        self.assertEqual(idle, set(), f"{user} may do what it never did")

    def test_operator(self):
        given = granted("clusterrole", "podvisor-operator") | granted("role", "podvisor-operator", "-n", "podvisor")
        self.check("system:serviceaccount:podvisor:podvisor-operator", given)

    def test_device_plugin(self):
        self.check("system:serviceaccount:podvisor-node:podvisor-device-plugin",
                   granted("clusterrole", "podvisor-device-plugin"))

    def test_machines_have_no_credentials(self):
        pods = json.loads(lib.kubectl("get", "pods", "--all-namespaces", "-l", "kubevirt.io=virt-launcher", "-o",
                                      "json").stdout)["items"]
        for pod in pods:
            self.assertIs(pod["spec"]["automountServiceAccountToken"], False)


if __name__ == "__main__":
    unittest.main(verbosity=2)
