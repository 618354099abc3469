//! What routing needs to see of a request.

/// A request head as routing sees it. All parts are borrowed from wherever the request was read into.
pub trait RequestView {
    /// The method, as sent.
    fn method(&self) -> &[u8];
    /// The host the request is for, without a port; in any case. Empty when there is none.
    fn host(&self) -> &[u8];
    /// The normalised path, without the query. `*` for `OPTIONS *`.
    fn path(&self) -> &[u8];
    /// The query, without its `?`.
    fn query(&self) -> Option<&[u8]>;
    /// The values of all fields of a name, given in lower case, in order.
    fn values<'a>(&'a self, lower_name: &'a [u8]) -> impl Iterator<Item = &'a [u8]>;

    /// The first of them.
    fn header<'a>(&'a self, lower_name: &'a [u8]) -> Option<&'a [u8]> {
        self.values(lower_name).next()
    }
}
