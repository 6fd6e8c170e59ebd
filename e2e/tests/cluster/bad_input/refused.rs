//! What the API server refuses at `kubectl apply`: where, what, and words of the refusal.

use serde_json::{Value, json};

/// A value at a pointer, and words of the refusal.
pub(crate) type Refused = (&'static str, Value, &'static str);

/// Of Agents.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn agents() -> Vec<Refused> {
    let candidate = json!([{"providerRef": {"name": "scripted"}}]);
    let webhook = |fields: Value| json!([{"name": "order", "type": "webhook", "webhook": fields}]);
    let resources = |fields: Value| json!({"resources": fields});
    vec![
        // Fields that do not exist, that are missing, or of another type.
        ("/spec/prompts/sytem", json!("Be kind."), "spec.prompts.sytem"),
        ("/spec/modell", json!({}), "spec.modell"),
        ("/spec", json!({}), "spec.model: Required value"),
        ("/spec", json!("none"), ".spec: expected map"),
        ("/spec/model", json!({}), "spec.model.candidates: Required value"),
        ("/spec/model", json!([]), ".spec.model: expected map"),
        ("/spec/model/candidates", json!([]), "spec.model.candidates"),
        ("/spec/model/candidates", json!([{}]), "spec.model.candidates[0].providerRef: Required value"),
        (
            "/spec/runtime/replicas",
            json!("three"),
            ".spec.runtime.replicas: expected numeric (int or float), got string",
        ),
        ("/spec/suspend", json!("yes"), ".spec.suspend: expected boolean, got &{yes}"),
        ("/spec/budget", json!({"maxCost": 5}), ".spec.budget.maxCost: expected string"),
        // Numbers out of range.
        ("/spec/runtime/replicas", json!(-1), "spec.runtime.replicas in body should be greater than or equal to 0"),
        ("/spec/runtime/replicas", json!(100_000), "should be less than or equal to 1000"),
        ("/spec/model/candidates/0/parameters", json!({"temperature": 3}), "temperature in body should be less than"),
        ("/spec/model/candidates/0/parameters", json!({"maxTokens": 0}), "maxTokens in body should be greater than"),
        // Choices, and unions with two arms.
        (
            "/spec/orchestration",
            json!({"pattern": "zigzag"}),
            "Unsupported value: \"zigzag\": supported values: \"react\"",
        ),
        ("/spec/prompts", json!({}), "prompts needs exactly one of system and systemFrom"),
        (
            "/spec/prompts",
            json!({"system": "x", "systemFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}),
            "prompts needs exactly one of system and systemFrom",
        ),
        ("/spec/orchestration", json!({"merge": "vote"}), "orchestration.branches and merge belong to the pattern"),
        ("/spec/orchestration", json!({"pattern": "swarm"}), "need at least one tool of type agent; add one"),
        ("/spec/memory", json!({}), "memory needs at least one of conversational, episodic and semantic"),
        (
            "/spec/memory",
            json!({"conversational": {"backend": "redis"}}),
            "memory.conversational.connection is required",
        ),
        ("/spec/access", json!({"mode": "none", "allowed": [{"namespace": "x"}]}), "access.allowed has no meaning"),
        ("/spec/guardrails", json!({"input": [{"type": "topic_filter"}]}), "guardrail topics belong to topic_filter"),
        ("/spec/roles", json!({"poet": {"candidates": candidate}}), "roles must be planner, worker"),
        // Names.
        ("/metadata/name", json!("2fast"), "metadata.name must begin with a letter"),
        ("/metadata/name", json!("a".repeat(51)), "metadata.name must have at most 50 characters"),
        ("/metadata/name", json!("ünder"), "metadata.name"),
        (
            "/spec/model/candidates",
            json!([{"providerRef": {"name": "My Provider"}}]),
            "providerRef.name \"My Provider\" is not a name",
        ),
        (
            "/spec/model/candidates",
            json!([{"providerRef": {"name": "a", "namespace": "No.Such"}}]),
            "providerRef.namespace \"No.Such\" is not a namespace",
        ),
        ("/spec/runtime/imagePullSecrets", json!([{"name": "No_Way"}]), "name \"No_Way\" is not a name"),
        ("/spec/access", json!({"allowed": [{"serviceAccount": "My App"}]}), "serviceAccount \"My App\" is not a name"),
        ("/spec/tools", json!([{"name": "get order", "type": "client"}]), "name \"get order\" is not a name"),
        ("/spec/tools", json!([{"name": "hammer", "type": "internal"}]), "tools: the internal tools are datetime_now"),
        (
            "/spec/tools",
            json!([{"name": "a", "type": "client"}, {"name": "a", "type": "client"}]),
            ".spec.tools: duplicate entries for key [name=\"a\"]",
        ),
        ("/spec/tools", json!([{"name": "a", "type": "agent"}]), "tools: `agent` is required with type agent"),
        (
            "/spec/tools",
            json!([{"name": "me", "type": "agent", "agent": {"agentRef": {"name": "support"}}}]),
            "an agent is not its own tool",
        ),
        (
            "/spec/permissions",
            json!({"allow": ["get order"]}),
            "permissions.allow: \"get order\" is not a name of tools",
        ),
        // Durations.
        (
            "/spec/orchestration",
            json!({"timeout": "soon"}),
            "orchestration.timeout \"soon\" is not a duration between 100ms and 1h",
        ),
        ("/spec/orchestration", json!({"timeout": "2h"}), "orchestration.timeout \"2h\" is not a duration between"),
        ("/spec/orchestration", json!({"timeout": 30}), ".spec.orchestration.timeout: expected string"),
        ("/spec/runtime/drainTimeout", json!("-5s"), "runtime.drainTimeout \"-5s\" is not a duration"),
        ("/spec/runtime/queueTimeout", json!("1 minute"), "runtime.queueTimeout \"1 minute\" is not a duration"),
        // What is sent on to the API server's own objects.
        (
            "/spec/runtime",
            resources(json!({"limits": {"memory": "lots"}})),
            "runtime.resources.limits: \"memory\" is \"lots\"; use a number",
        ),
        (
            "/spec/runtime",
            resources(json!({"limits": {"cpu": -2}})),
            "resources.limits.cpu in body should be greater than or equal to 0",
        ),
        ("/spec/runtime", resources(json!({"limits": {"gpu": 1}})), "\"gpu\" is not a resource of a pod"),
        (
            "/spec/runtime",
            resources(json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "512Mi"}})),
            "requests.memory (1Gi) is over limits.memory (512Mi)",
        ),
        ("/spec/runtime", resources(json!({"requests": {"memory": "1Gi"}})), "over limits.memory (256Mi, the default)"),
        (
            "/spec/runtime",
            resources(json!({"requests": {"cpu": 2}, "limits": {"cpu": 1}})),
            "requests.cpu (2) is over limits.cpu (1)",
        ),
        (
            "/spec/runtime",
            resources(json!({"requests": {"example.com/gpu": 1}})),
            "devices and hugepages are whole numbers, set in limits",
        ),
        (
            "/spec/runtime/podLabels",
            json!({"app": "no spaces allowed!"}),
            "runtime.podLabels: \"app\" is \"no spaces allowed!\"",
        ),
        ("/spec/runtime/podLabels", json!({"a b": "c"}), "runtime.podLabels: \"a b\" is not a key"),
        (
            "/spec/runtime/podLabels",
            json!({"app.kubernetes.io/name": "c"}),
            "\"app.kubernetes.io/name\" is set by the operator",
        ),
        ("/spec/runtime/podAnnotations", json!({"-bad-": "x"}), "runtime.podAnnotations: \"-bad-\" is not a key"),
        (
            "/spec/runtime/podAnnotations",
            json!({"astromesh.io/revision": "x"}),
            "\"astromesh.io/revision\" belongs to the operator",
        ),
        (
            "/spec/runtime/podAnnotations",
            json!({"a": "x".repeat(40_000), "b": "x".repeat(40_000)}),
            "podAnnotations hold 80002 characters, keys and values together; at most 65536",
        ),
        ("/spec/runtime/nodeSelector", json!({"kubernetes.io/arch": "amd 64"}), "\"kubernetes.io/arch\" is \"amd 64\""),
        (
            "/spec/runtime/tolerations",
            json!([{"key": "a", "operator": "Perhaps"}]),
            "Unsupported value: \"Perhaps\": supported values: \"Equal\", \"Exists\"",
        ),
        ("/spec/runtime/tolerations", json!([{"key": "a", "effect": "NoSleep"}]), "Unsupported value: \"NoSleep\""),
        ("/spec/runtime/tolerations", json!([{"value": "a"}]), "tolerations: key is required"),
        (
            "/spec/runtime/tolerations",
            json!([{"key": "a", "tolerationSeconds": 3}]),
            "tolerationSeconds belongs to effect NoExecute",
        ),
        ("/spec/runtime/image", json!("my image:latest"), "runtime.image \"my image:latest\" is not an image"),
        (
            "/spec/memory",
            json!({"conversational": {"backend": "sqlite"}, "persistence": {"size": "much"}}),
            "memory.persistence.size \"much\" is not a size",
        ),
        (
            "/spec/memory",
            json!({"conversational": {"backend": "sqlite"}, "persistence": {"size": "1Gi", "storageClassName": "Fast Disk"}}),
            "storageClassName \"Fast Disk\" is not a name",
        ),
        // Texts that are too long, URLs, headers, money.
        ("/spec/prompts/system", json!("x".repeat(262_145)), "spec.prompts.system: Too long"),
        ("/spec/identity", json!({"displayName": "🙂".repeat(129)}), "spec.identity.displayName: Too long"),
        (
            "/spec/guardrails",
            json!({"input": [{"type": "topic_filter", "topics": ["\u{a0} "]}]}),
            "guardrails: topics: ",
        ),
        (
            "/spec/tools",
            webhook(json!({"url": "shop.example.com"})),
            "webhook.url \"shop.example.com\" must be an absolute http or https URL",
        ),
        (
            "/spec/tools",
            webhook(json!({"url": "https://me:secret@shop.example.com"})),
            "webhook.url must not hold credentials; use webhook.auth",
        ),
        (
            "/spec/tools",
            webhook(json!({"url": "https://a.b", "headers": {"X": "a\nb"}})),
            "webhook.headers: the value of \"X\" holds characters",
        ),
        ("/spec/budget", json!({"maxCost": "cheap"}), "budget.maxCost \"cheap\" must be more than 0"),
        ("/spec/budget", json!({"maxCost": "0.00"}), "budget.maxCost \"0.00\" must be more than 0"),
        ("/spec/budget", json!({}), "budget needs maxTokens, maxCost, or both"),
    ]
}

/// Of Providers.
pub(crate) fn providers() -> Vec<Refused> {
    let price = |input: Value| json!([{"name": "m", "price": {"inputPerMillion": input, "outputPerMillion": "1"}}]);
    let key = |name: &str, key: &str| json!({"name": name, "key": key});
    vec![
        ("/spec/type", json!("openai"), "Unsupported value: \"openai\": supported values: \"openai_compat\""),
        ("/spec", json!({"type": "vllm"}), "endpoint is required for this type"),
        (
            "/spec/endpoint",
            json!("api.openai.com"),
            "endpoint \"api.openai.com\" must be an absolute http or https URL",
        ),
        ("/spec/endpoint", json!("ftp://api.openai.com"), "endpoint \"ftp://api.openai.com\" must be an absolute"),
        (
            "/spec/endpoint",
            json!("https://me:secret@api.openai.com"),
            "endpoint must not hold credentials; use spec.auth",
        ),
        ("/spec/auth", json!({"scheme": "bearer"}), "auth.secretKeyRef is required unless auth.scheme is none"),
        ("/spec/auth", json!({"scheme": "basic", "secretKeyRef": key("s", "k")}), "Unsupported value: \"basic\""),
        ("/spec/auth", json!({"secretKeyRef": key("My Secret", "k")}), "secretKeyRef.name \"My Secret\" is not a name"),
        ("/spec/auth", json!({"secretKeyRef": key("s", "a/b")}), "secretKeyRef.key \"a/b\" is not a key"),
        ("/spec/headers", json!({"X Y": "1"}), "headers: \"X Y\" is not a header"),
        ("/spec/headers", json!({"authorization": "Bearer x"}), "headers must not hold Authorization"),
        ("/spec/models", price(json!("cheap")), "price.inputPerMillion \"cheap\" is not an amount"),
        ("/spec/models", price(json!(0.15)), ".spec.models[name=\"m\"].price.inputPerMillion: expected string"),
        ("/spec/models", json!([{"name": "m"}, {"name": "m"}]), ".spec.models: duplicate entries for key [name=\"m\"]"),
        ("/spec/models", json!([{"name": "m", "quality": 101}]), "quality in body should be less than or equal to 100"),
        ("/spec/timeouts", json!({"connect": "5"}), "timeouts.connect \"5\" is not a duration between 10ms and 10m"),
        (
            "/spec/circuitBreaker",
            json!({"cooldown": "10ms"}),
            "circuitBreaker.cooldown \"10ms\" is not a duration between 1s and 1h",
        ),
        ("/spec/rateLimit", json!({}), "rateLimit needs requestsPerMinute, tokensPerMinute, or both"),
        ("/spec/allowedNamespaces", json!({"from": "Selector"}), "allowedNamespaces.selector is required"),
        (
            "/spec/allowedNamespaces",
            json!({"from": "Selector", "selector": {"matchLabels": {"team": "a b"}}}),
            "allowedNamespaces.selector.matchLabels: \"team\" is \"a b\"",
        ),
    ]
}

/// What is no object of ours: a text, and words of `kubectl`'s refusal.
pub(crate) fn texts() -> Vec<(&'static str, &'static str)> {
    vec![
        ("- just\n- a list\n", "invalid object to validate"),
        ("just a text", "invalid object to validate"),
        ("a: [unclosed", "yaml"),
        ("kind: Agent\nmetadata: {name: a}\n", "apiVersion"),
        ("apiVersion: astromesh.io/v1alpha1\nmetadata: {name: a}\n", "kind not set"),
        (
            "apiVersion: astromesh.io/v9\nkind: Agent\nmetadata: {name: a}\n",
            "no matches for kind \"Agent\" in version \"astromesh.io/v9\"",
        ),
        ("apiVersion: astromesh.io/v1alpha1\nkind: Agnet\nmetadata: {name: a}\n", "no matches for kind \"Agnet\""),
        ("apiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata: {}\nspec: {}\n", "name"),
        ("apiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata: {name: a}\n", "spec: Required value"),
    ]
}
