//! The bounds of the codec: every one has a name and a default.

/// Upper bounds for what a peer may send. The defaults suit a public listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole head: start line, fields and the empty line. Beyond: 431. Default 64 KiB.
    pub head_bytes_max: usize,
    /// Field lines of a head, and of a trailer section. Beyond: 431. Default 100.
    pub fields_max: usize,
    /// Bytes of a request target. Beyond: 414. Default 8 KiB.
    pub target_bytes_max: usize,
    /// Bytes of a method name. Beyond: 400. Default 32.
    pub method_bytes_max: usize,
    /// Options in all `Connection` fields of a head together. Beyond: 400. Default 32.
    pub connection_options_max: usize,
    /// Bytes of chunk extensions in one body, all chunks together. Extensions are dropped, so this bounds only the
    /// work that they cause. Default 4 KiB.
    pub chunk_extension_bytes_max: usize,
    /// Bytes of a trailer section. Default 8 KiB.
    pub trailer_bytes_max: usize,
    /// Interim (1xx) responses of one exchange. Default 16.
    pub interim_responses_max: u16,
}

impl Limits {
    /// The documented defaults, usable in constants.
    pub const DEFAULT: Self = Self {
        head_bytes_max: 64 * 1024,
        fields_max: 100,
        target_bytes_max: 8 * 1024,
        method_bytes_max: 32,
        connection_options_max: 32,
        chunk_extension_bytes_max: 4 * 1024,
        trailer_bytes_max: 8 * 1024,
        interim_responses_max: 16,
    };

    /// Offsets are 32 bits wide and field indexes 16; no setting may ask for more than that can hold.
    pub(crate) fn head_window(&self) -> usize {
        self.head_bytes_max.min(16 * 1024 * 1024)
    }

    pub(crate) fn fields_bound(&self) -> usize {
        self.fields_max.min(u16::MAX as usize)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
