//! Rows of COPY BINARY to lines of CSV and JSON.
//!
//! Every value is taken from the rows through a bounds-checked slice, and every byte written through one: rows that
//! are not what they should be are reported, and what was overlooked here ends the process instead of reading beyond.
//! The bytes are those that `export_runner.formats` makes with polars; the tests hold one against the other.

const arrays = @import("arrays.zig");
const copy = @import("copy.zig");
const csv = @import("csv.zig");
const decimals = @import("decimals.zig");
const json = @import("json.zig");
const output = @import("out.zig");

/// What is asked, and how far it has come: `row`, `offset` (into the data) and `written` go on with each call.
pub const Job = extern struct {
    data: [*]const u8,
    data_size: usize,
    lengths: [*]const i64,
    rows: usize,
    kinds: [*]const u8,
    fields: usize,
    /// JSON: what stands before each value; CSV: null.
    keys: ?[*]const u8,
    /// Where each field's key ends.
    key_ends: [*]const usize,
    /// CSV.
    null_text: [*]const u8,
    null_size: usize,
    line_end: [*]const u8,
    line_end_size: usize,
    delimiter: u8,
    quoting: u8,
    /// Where arrays are written before it is known how they are to stand.
    scratch: [*]u8,
    scratch_size: usize,
    out: [*]u8,
    out_size: usize,
    row: usize,
    offset: usize,
    written: usize,
    /// The kind of a value that is as wide as none of its kind.
    wrong: u8,
};

const Problem = copy.Problem || output.Full || error{Scratch};

pub fn run(job: *Job) copy.Status {
    const data = job.data[0..job.data_size];
    const dialect = csv.Dialect{
        .null_text = job.null_text[0..job.null_size],
        .delimiter = job.delimiter,
        .quoting = @fromBackingInt(@intCast(job.quoting)),
    };
    const out = job.out[0..job.out_size];
    job.written = 0;
    while (job.row < job.rows) {
        const row = copy.row(data, job.offset, job.lengths[job.row]) orelse return .beyond;
        job.written = line(job, dialect, row, out, job.written) catch |problem| return switch (problem) {
            error.Full => .full,
            error.Scratch => .scratch,
            else => |other| copy.status(other),
        };
        job.row += 1;
        job.offset += row.len;
    }
    return .done;
}

/// Where the line ends in `buffer`, if it begins at `begin`.
fn line(job: *Job, dialect: csv.Dialect, row: []const u8, buffer: []u8, begin: usize) Problem!usize {
    var out = output.Out{ .buffer = buffer, .at = begin };
    var fields = try copy.Fields.of(row, job.fields);
    for (job.kinds[0..job.fields], 0..) |code, number| {
        if (job.keys) |keys| {
            const first = if (number == 0) 0 else job.key_ends[number - 1];
            try out.add(keys[first..job.key_ends[number]]);
        } else if (number > 0) try out.byte(dialect.delimiter);
        switch (@as(copy.Kind, @fromBackingInt(@intCast(code)))) {
            inline else => |kind| {
                const value = fields.next(kind) catch |problem| {
                    job.wrong = code;
                    return problem;
                };
                var digits: [output.longest]u8 = undefined;
                const text = if (value) |bytes| switch (kind) {
                    .decimal => try decimals.text(bytes, &digits),
                    .array => try array(job, bytes),
                    else => bytes,
                } else null;
                const like = switch (kind) {
                    .decimal => .numeric,
                    .array => .text,
                    else => kind,
                };
                if (job.keys) |_| {
                    if (text) |bytes| try json.value(like, bytes, &out) else try out.add("null");
                } else {
                    if (text) |bytes| try csv.cell(&dialect, like, bytes, &out) else try out.add(dialect.null_text);
                }
            },
        }
    }
    try fields.end();
    if (job.keys != null) try out.byte('}');
    try out.add(job.line_end[0..job.line_end_size]);
    return out.at;
}

fn array(job: *const Job, bytes: []const u8) Problem![]const u8 {
    return arrays.text(bytes, job.scratch[0..job.scratch_size]) catch |problem| switch (problem) {
        error.Full => error.Scratch,
        else => |other| other,
    };
}
