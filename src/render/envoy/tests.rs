use super::*;
use crate::ecds;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

fn bootstrap(source: KeysetSource<'_>, upstream: &str) -> YamlNode {
    let bootstrap = Bootstrap {
        listen: HostPort::parse("[::]:8443").unwrap(),
        upstream: HostPort::parse(upstream).unwrap(),
        admin: HostPort::parse("127.0.0.1:9999").unwrap(),
        source,
        module: None,
    };
    let text = bootstrap.render().unwrap();
    assert!(text.contains("The guard. If a worker"), "comments stay");
    let node = yaml::parse(&text).ok().unwrap();
    let manager = format!("{LISTENER}.filter_chains[0].filters[0].typed_config");
    assert_eq!(
        at(
            &node,
            &format!("{manager}.route_config.ignore_port_in_host_matching")
        ),
        true,
        "a policy with `host_ports: ignore` relies on it"
    );
    node
}

fn at(node: &YamlNode, path: &str) -> serde_json::Value {
    node.at(path).unwrap().json()
}

#[test]
fn ports_and_paths_are_put_in_their_places() {
    let node = bootstrap(
        KeysetSource::File(Path::new("/var/lib/key stile/ecds.pb")),
        "127.0.0.1:8000",
    );
    assert_eq!(
        at(&node, &format!("{LISTENER}.address.socket_address.address")),
        "::"
    );
    assert_eq!(
        at(
            &node,
            &format!("{LISTENER}.address.socket_address.port_value")
        ),
        8443
    );
    assert_eq!(at(&node, "admin.address.socket_address.port_value"), 9999);
    assert_eq!(at(&node, &format!("{CLUSTER}.type")), "STATIC");
    assert_eq!(
        at(
            &node,
            &format!("{FILTERS}[0].config_discovery.config_source.path_config_source.path")
        ),
        "/var/lib/key stile/ecds.pb"
    );
    assert_eq!(at(&node, &format!("{FILTERS}[1].name")), "keystile-guard");
}

#[test]
fn a_host_name_is_resolved_and_a_keyset_is_written_in() {
    let keyset = r#"{"format":1,"pages":""}"#;
    let source = KeysetSource::Inline {
        keyset,
        wasm: Path::new("/lib/keystile.wasm"),
    };
    let node = bootstrap(source, "users.internal:80");
    assert_eq!(at(&node, &format!("{CLUSTER}.type")), "STRICT_DNS");
    assert_eq!(
        at(
            &node,
            &format!("{FILTERS}[0].typed_config.config.configuration.value")
        ),
        keyset
    );
    assert_eq!(
        at(
            &node,
            &format!("{FILTERS}[0].typed_config.config.vm_config.code.local.filename")
        ),
        "/lib/keystile.wasm"
    );
}

#[test]
fn two_filters_discover_their_configuration_from_a_server() {
    let source = KeysetSource::Discovery {
        discovery: &HostPort::parse("keystile.internal:18000").unwrap(),
        control: &HostPort::parse("10.0.0.7:8443").unwrap(),
        node: "edge 7",
    };
    let node = bootstrap(source, "127.0.0.1:8000");
    let names = [
        "keystile-base",
        "keystile",
        "keystile-guard",
        "envoy.filters.http.router",
    ];
    for (n, name) in names.iter().enumerate() {
        assert_eq!(at(&node, &format!("{FILTERS}[{n}].name")), *name);
    }
    assert_eq!(at(&node, &format!("{FILTERS}[0].disabled")), true);
    assert!(node.at(&format!("{FILTERS}[1].disabled")).is_none());
    assert_eq!(at(&node, "node.id"), "edge 7");
    let place = "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address";
    for (cluster, name, kind, port) in [
        (CLUSTER, "upstream", "STATIC", 8000),
        (DISCOVERY_CLUSTER, "keystile-discovery", "STRICT_DNS", 18000),
        (CONTROL_CLUSTER, "keystile-control", "STATIC", 8443),
    ] {
        assert_eq!(at(&node, &format!("{cluster}.name")), name);
        assert_eq!(at(&node, &format!("{cluster}.type")), kind);
        assert_eq!(at(&node, &format!("{cluster}.{place}.port_value")), port);
    }
}

#[test]
fn for_a_module_nothing_is_left_of_wasm_and_all_else_stays() {
    let host = HostPort::parse("127.0.0.1:1").unwrap();
    let file = Path::new("/ecds.pb");
    let sources: [fn(&'static HostPort, &'static Path) -> KeysetSource<'static>; 3] = [
        |_, file| KeysetSource::File(file),
        |host, _| KeysetSource::Discovery {
            discovery: host,
            control: host,
            node: "edge-1",
        },
        |_, wasm| KeysetSource::Inline { keyset: "{}", wasm },
    ];
    let host: &'static HostPort = Box::leak(Box::new(host));
    for (i, source) in sources.into_iter().enumerate() {
        let text = |module| {
            let bootstrap = Bootstrap {
                listen: host.clone(),
                upstream: host.clone(),
                admin: host.clone(),
                source: source(host, file),
                module,
            };
            bootstrap.render().unwrap()
        };
        let native = text(Some("keystile-2"));
        for word in [
            "keystile-guard",
            "v8",
            ecds::WASM,
            "wasmcustom",
            "vm_config",
        ] {
            assert!(!native.contains(word), "{i}: {word} in\n{native}");
            assert!(text(None).contains(word) || i != 2, "{i}: {word}");
        }
        let node = yaml::parse(&native).ok().unwrap();
        let filters = node.at(FILTERS).unwrap().json();
        let before = yaml::parse(&text(None)).ok().unwrap();
        let before = before.at(FILTERS).unwrap().json();
        let count = |filters: &serde_json::Value| filters.as_array().unwrap().len();
        assert_eq!(count(&filters) + 1, count(&before));
        let layer = at(&node, "layered_runtime.layers[0].static_layer");
        assert_eq!(layer, serde_json::json!({native::STRIP: true}));
        assert!(native.contains(ecds::MODULE));
        if i == 2 {
            let config = format!("{FILTERS}[0].typed_config");
            assert_eq!(at(&node, &format!("{config}.filter_config.value")), "{}");
            let name = format!("{config}.dynamic_module_config.name");
            assert_eq!(at(&node, &name), "keystile-2");
        }
    }
}

#[test]
fn every_configuration_has_the_same_keeper_for_the_vm_id_of_the_filter() {
    let keeper = |text: &str| {
        let node = yaml::parse(text).ok().unwrap();
        node.at("bootstrap_extensions[0]").unwrap().json()
    };
    let first = keeper(ECDS);
    let vm = "/typed_config/config/vm_config/vm_id";
    assert_eq!(first.pointer(vm), Some(&serde_json::json!(ecds::NAME)));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy");
    let files = [shipped.join("examples"), shipped];
    let files = files.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap());
    let yaml = files
        .map(|file| file.unwrap().path())
        .filter(|file| file.extension().is_some_and(|end| end == "yaml"));
    for file in yaml {
        let text = std::fs::read_to_string(&file).unwrap();
        // What is none of Envoy's: Compose's file and Prometheus' rules.
        if !text.contains("static_resources:") {
            continue;
        }
        assert_eq!(keeper(&text), first, "{}", file.display());
    }
}

/// It ends up in many bootstraps, so nobody should have to take it on trust.
#[test]
fn the_keeper_is_a_module_that_can_do_nothing() {
    let node = yaml::parse(ECDS).ok().unwrap();
    let code = "bootstrap_extensions[0].typed_config.config.vm_config.code.local.inline_bytes";
    let code = at(&node, code);
    let code = STANDARD.decode(code.as_str().unwrap()).unwrap();
    let module = wasmi::Module::new(&wasmi::Engine::default(), &code).unwrap();
    assert_eq!(module.imports().count(), 0);
    let exports: Vec<_> = module.exports().map(|e| e.name()).collect();
    assert_eq!(exports, ["malloc", "memory", "proxy_abi_version_0_2_1"]);
    assert_eq!(code.len(), 87);
}

#[test]
fn what_is_no_host_and_port_is_refused() {
    for bad in ["", "8000", ":8000", "a:b", "a:0", "a b:1", "a:70000"] {
        assert!(HostPort::parse(bad).is_err(), "{bad}");
    }
}
