use std::time::Instant;
use rand::SeedableRng; use rand::rngs::SmallRng; use serde_json::json;
use weir_model::{Position, Resource};
use weir_proxy::route::{Decision, RequestView};
use weir_proxy::snapshot::{Compiler, Inputs, Role};
struct R{h:String,p:String}
impl RequestView for R { fn method(&self)->&[u8]{b"GET"} fn host(&self)->&[u8]{self.h.as_bytes()} fn path(&self)->&[u8]{self.p.as_bytes()} fn query(&self)->Option<&[u8]>{None} fn header(&self,_:&[u8])->Option<&[u8]>{None} }
fn res(kind:&str,name:&str,spec:serde_json::Value)->Resource{ serde_json::from_value(json!({"apiVersion":"v1","kind":kind,"metadata":{"namespace":"default","name":name},"spec":spec})).unwrap()}
#[test] fn measure(){
 for (hosts,rules) in [(1,1),(10,16),(200,64),(1000,100)] {
  let mut rs=vec![res("Gateway","edge",json!({"listeners":[{"name":"web","port":8080,"protocol":"HTTP"}]})), res("Service","one",json!({"endpoints":[{"address":"127.0.0.1","port":1}]}))];
  for h in 0..hosts { let rl:Vec<_>=(0..rules).map(|r| json!({"matches":[{"path":{"value":format!("/api/{r}/x")}}],"backendRefs":[{"name":"one"}]})).collect();
   rs.push(res("HTTPRoute",&format!("r{h}"),json!({"parentRefs":[{"name":"edge"}],"hostnames":[format!("h{h}.example.com")],"rules":rl}))); }
  let inputs=Inputs::of_resources(Position::new(0,1),rs);
  let t=Instant::now(); let s=Compiler::new(Role::Gateway{gateways:vec![]}).compile(&inputs,None).unwrap(); let c=t.elapsed();
  let t=Instant::now(); let mut i2=inputs.clone(); i2.position=Position::new(0,2); let _s2=Compiler::new(Role::Gateway{gateways:vec![]}).compile(&i2,Some(&s)).unwrap(); let c2=t.elapsed();
  let reqs:Vec<R>=(0..1000).map(|i| R{h:format!("h{}.example.com",(i*7919)%hosts),p:format!("/api/{}/x/items/42",(i*104729)%rules)}).collect();
  let mut rng=SmallRng::seed_from_u64(1); let tb=&s.listeners[0].routes; let n=200;
  let t=Instant::now(); let mut ok=0u64; for _ in 0..n { for r in &reqs { if matches!(s.route(tb,r,&mut rng),Decision::Forward{..}) {ok+=1} } } let e=t.elapsed();
  eprintln!("{} rules: {:.0} ns/route compile {:?} recompile-same {:?} ok {}", hosts*rules, e.as_nanos() as f64/(n as f64*1000.0), c, c2, ok);
 }}
