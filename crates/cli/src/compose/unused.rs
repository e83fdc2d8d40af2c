//! Stand-ins for imports of the adapter that a component has no use for.

use wit_component::{
    ComponentEncoder, DecodedWasm, StringEncoding, dummy_module, embed_component_metadata,
};
use wit_parser::{LiftLowerAbi, ManglingAndAbi};

use super::error::Source;

/// A component that exports the interface which `component` imports by the name `import`. Its functions
/// trap: nobody calls them.
///
/// With it in the place of the import, what is composed does not import the interface, so that it needs
/// no link for it.
pub(super) fn stand_in(component: &[u8], import: &str) -> Result<Vec<u8>, Source> {
    let DecodedWasm::Component(mut resolve, _) = wit_component::decode(component)? else {
        return Err("it is a WIT package".into());
    };
    let source = format!("package unused:functions; world unused {{ export {import}; }}");
    let package = resolve.push_str("unused.wit", &source)?;
    let world = resolve.select_world(&[package], Some("unused"))?;
    let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let mut module = dummy_module(&resolve, world, abi);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    Ok(ComponentEncoder::default().module(&module)?.encode()?)
}
