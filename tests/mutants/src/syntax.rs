//! Where in a file mutants can be switched on: what has to be written twice for each.

use std::collections::HashMap;
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Arm, BinOp, Expr, ExprBinary, ExprStruct, ExprUnary, Pat};

/// Bytes of the file.
type Bytes = Range<usize>;

/// A condition behind a pattern.
#[derive(Clone)]
pub struct Guard {
    /// The condition itself.
    pub range: Bytes,
    /// Whether it binds names: it cannot be put in parentheses then.
    pub has_let: bool,
}

/// Why a place cannot be switched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fixed {
    /// The compiler evaluates it, and has no environment.
    Constant,
    /// `&&` beside `let`, where `||` is no Rust.
    LetChain,
    /// A condition that binds names, which cannot hold without a value for them.
    Binding,
}

/// All places of one file; most are found by where they begin.
#[derive(Default)]
pub struct Places {
    /// What stands between the braces of each function.
    pub bodies: Vec<Bytes>,
    /// By operator: the whole expression in which it stands, so that precedence counts.
    pub operators: HashMap<usize, Result<Bytes, Fixed>>,
    /// By condition.
    pub guards: HashMap<usize, Guard>,
    /// By arm: where its pattern ends, and its condition.
    pub arms: HashMap<usize, (usize, Option<Guard>)>,
    /// By field: the struct expression.
    pub fields: HashMap<usize, Bytes>,
    /// The operators around the present expression, as one expression.
    outermost: Option<Bytes>,
    constant: bool,
}

impl Places {
    /// All of a file.
    pub fn of(source: &str) -> crate::Result<Self> {
        let mut places = Self::default();
        places.visit_file(&syn::parse_file(source)?);
        Ok(places)
    }

    /// The innermost function body that holds `range`.
    pub fn body(&self, range: &Bytes) -> Option<Bytes> {
        let holds = |b: &&Bytes| b.start <= range.start && range.end <= b.end;
        self.bodies
            .iter()
            .filter(holds)
            .min_by_key(|b| b.len())
            .cloned()
    }

    fn body_of(&mut self, block: &syn::Block) {
        let open = block.brace_token.span.open().byte_range().end;
        let close = block.brace_token.span.close().byte_range().start;
        self.bodies.push(open..close);
    }

    /// Visits something that is no direct operand of the present operator.
    fn apart(&mut self, visit: impl FnOnce(&mut Self)) {
        let outermost = self.outermost.take();
        visit(self);
        self.outermost = outermost;
    }

    fn in_constant(&mut self, visit: impl FnOnce(&mut Self)) {
        let constant = std::mem::replace(&mut self.constant, true);
        self.apart(visit);
        self.constant = constant;
    }

    fn operator(&mut self, operator: &impl Spanned, whole: Result<Bytes, Fixed>) {
        let whole = if self.constant {
            Err(Fixed::Constant)
        } else {
            whole
        };
        self.operators
            .insert(operator.span().byte_range().start, whole);
    }
}

/// Whether `let` stands in a chain of `&&`.
fn has_let(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(b) => matches!(b.op, BinOp::And(_)) && (has_let(&b.left) || has_let(&b.right)),
        _ => false,
    }
}

impl<'s> Visit<'s> for Places {
    fn visit_expr_binary(&mut self, node: &'s ExprBinary) {
        let chain =
            matches!(node.op, BinOp::And(_)) && (has_let(&node.left) || has_let(&node.right));
        if chain {
            self.operator(&node.op, Err(Fixed::LetChain));
            self.apart(|s| s.visit_expr(&node.left));
            self.apart(|s| s.visit_expr(&node.right));
            return;
        }
        let whole = self
            .outermost
            .clone()
            .unwrap_or_else(|| node.span().byte_range());
        self.operator(&node.op, Ok(whole.clone()));
        for operand in [&node.left, &node.right] {
            if matches!(**operand, Expr::Binary(_)) {
                let outermost = self.outermost.replace(whole.clone());
                self.visit_expr(operand);
                self.outermost = outermost;
            } else {
                self.apart(|s| s.visit_expr(operand));
            }
        }
    }

    fn visit_expr_unary(&mut self, node: &'s ExprUnary) {
        self.operator(&node.op, Ok(node.span().byte_range()));
        visit::visit_expr_unary(self, node);
    }

    fn visit_expr_struct(&mut self, node: &'s ExprStruct) {
        for field in &node.fields {
            let start = field.span().byte_range().start;
            self.fields.insert(start, node.span().byte_range());
        }
        visit::visit_expr_struct(self, node);
    }

    fn visit_arm(&mut self, node: &'s Arm) {
        let guard = match &node.pat {
            Pat::Guard(guarded) => Some(Guard {
                range: guarded.guard.span().byte_range(),
                has_let: has_let(&guarded.guard),
            }),
            _ => None,
        };
        if let Some(guard) = &guard {
            self.guards.insert(guard.range.start, guard.clone());
        }
        let start = node.span().byte_range().start;
        let end = node.pat.span().byte_range().end;
        self.arms.insert(start, (end, guard));
        visit::visit_arm(self, node);
    }

    fn visit_item_fn(&mut self, node: &'s syn::ItemFn) {
        self.body_of(&node.block);
        visit::visit_item_fn(self, node);
    }

    fn visit_impl_item_fn(&mut self, node: &'s syn::ImplItemFn) {
        self.body_of(&node.block);
        visit::visit_impl_item_fn(self, node);
    }

    fn visit_trait_item_fn(&mut self, node: &'s syn::TraitItemFn) {
        if let Some(block) = &node.default {
            self.body_of(block);
        }
        visit::visit_trait_item_fn(self, node);
    }

    fn visit_item_const(&mut self, node: &'s syn::ItemConst) {
        self.in_constant(|s| visit::visit_item_const(s, node));
    }

    fn visit_item_static(&mut self, node: &'s syn::ItemStatic) {
        self.in_constant(|s| visit::visit_item_static(s, node));
    }

    fn visit_impl_item_const(&mut self, node: &'s syn::ImplItemConst) {
        self.in_constant(|s| visit::visit_impl_item_const(s, node));
    }

    fn visit_trait_item_const(&mut self, node: &'s syn::TraitItemConst) {
        self.in_constant(|s| visit::visit_trait_item_const(s, node));
    }

    fn visit_expr_const(&mut self, node: &'s syn::ExprConst) {
        self.in_constant(|s| visit::visit_expr_const(s, node));
    }

    fn visit_expr_repeat(&mut self, node: &'s syn::ExprRepeat) {
        self.visit_expr(&node.expr);
        self.in_constant(|s| s.visit_expr(&node.len));
    }

    fn visit_type(&mut self, node: &'s syn::Type) {
        self.in_constant(|s| visit::visit_type(s, node));
    }

    fn visit_variant(&mut self, node: &'s syn::Variant) {
        self.in_constant(|s| visit::visit_variant(s, node));
    }

    fn visit_generic_argument(&mut self, node: &'s syn::GenericArgument) {
        self.in_constant(|s| visit::visit_generic_argument(s, node));
    }
}
