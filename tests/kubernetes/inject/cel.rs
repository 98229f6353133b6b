//! Runs the expressions of an admission policy: plain CEL, and what Kubernetes adds to it and our policies use.
//!
//! The additions of Kubernetes are made here from its reference: the `Object` and `JSONPatch` literals, and `indexOf` of lists. Not
//! here: the type check of a whole expression before it runs, and the limits of its cost. It must not know a policy.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cel::common::types::{CelInt, CelList, CelMap, CelMapKey, CelString, DYN_TYPE, LIST_TYPE, Type};
use cel::common::value::{CowVal, Val};
use cel::{Context, Env, ExecutionError, StructType};
use serde_json::Value;

/// The field of a literal's value that holds the name of its type.
const TYPE: &str = "$type";

/// `Object.spec.containers{...}` and similar literals. Any field may be set, as in an API server.
struct Literal(Type);

impl StructType for Literal {
    fn get_type(&self) -> &Type {
        &self.0
    }

    fn new_value<'b, 'v>(&self, fields: BTreeMap<String, CowVal<'b, 'v>>) -> Result<Box<dyn Val + 'v>, ExecutionError> {
        let mut map: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> = HashMap::new();
        map.insert(CelMapKey::from(TYPE), Box::new(CelString::from(self.0.name().to_owned())));
        for (name, value) in fields {
            map.insert(CelMapKey::from(name), value.into_owned());
        }
        Ok(Box::new(CelMap::from(map)))
    }
}

/// The names of the literals' types in an expression.
fn literals(expression: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (end, _) in expression.match_indices('{') {
        let before = expression[..end].trim_end();
        let start = before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '.').map_or(0, |at| at + 1);
        let name = &before[start..];
        if name == "JSONPatch" || name == "Object" || name.starts_with("Object.") {
            found.insert(name.to_owned());
        }
    }
    found
}

// The library wants a `Result`.
#[allow(clippy::unnecessary_wraps)]
fn index_of<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let list = arguments[0].downcast_ref::<CelList>().expect("the overload is of lists");
    let place = list.inner().iter().position(|each| each.equals(&*arguments[1]));
    Ok(CowVal::owned(CelInt::from(place.map_or(-1, |place| i64::try_from(place).unwrap()))))
}

/// The value of an expression.
pub fn evaluate(expression: &str, object: &Value, variables: &BTreeMap<String, Value>) -> Result<Value, String> {
    let mut env = Env::stdlib();
    for name in literals(expression) {
        env.add_type(Literal(Type::new_struct(name))).unwrap();
    }
    env.add_member_overload("indexOf", "list_index_of", LIST_TYPE, vec![DYN_TYPE], index_of).unwrap();
    let program = env.compile(expression).map_err(|error| format!("{expression}: {error}"))?;
    let mut context = Context::with_env(Arc::new(env));
    context.add_variable("object", object).unwrap();
    context.add_variable("variables", variables).unwrap();
    let value = program.execute(&context).map_err(|error| format!("{expression}: {error}"))?;
    value.json().map_err(|error| error.to_string())
}

/// Removes the names of the types from a value, after a check that each is the place where its value stands, as an API
/// server does: a literal of another place is an error there.
pub fn untyped(value: &mut Value, place: &str) -> Result<(), String> {
    match value {
        Value::Object(fields) => {
            let name = fields.remove(TYPE);
            if let Some(name) = &name
                && name != place
            {
                return Err(format!("{name} stands at {place}"));
            }
            for (field, value) in fields {
                let inner = if name.is_some() { format!("{place}.{field}") } else { place.to_owned() };
                untyped(value, &inner)?;
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| untyped(item, place)),
        _ => Ok(()),
    }
}

#[test]
fn the_additions_behave_as_their_reference_says() {
    let none = BTreeMap::new();
    let run = |expression: &str| evaluate(expression, &serde_json::json!({ "names": ["a", "b"] }), &none);
    assert_eq!(run("object.names.indexOf('b')"), Ok(1.into()));
    assert_eq!(run("object.names.indexOf('c')"), Ok((-1).into()));
    let mut made = run("Object.spec{selector: Object.spec.selector{app: 'x'}}").unwrap();
    assert_eq!(untyped(&mut made, "Object.spec"), Ok(()));
    assert_eq!(made, serde_json::json!({ "selector": { "app": "x" } }));
    let mut wrong = run("Object.spec{selector: Object.spec.other{app: 'x'}}").unwrap();
    assert!(untyped(&mut wrong, "Object.spec").is_err());
    assert!(run("object.nmaes").is_err() && run("Object.spec{").is_err());
}
