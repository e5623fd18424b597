//! Rows of COPY BINARY to lines of CSV and JSON.
//!
//! Every value is taken from the rows through a bounds-checked slice, and every byte written through one: rows that
//! are not what they should be are reported, and what was overlooked here ends the process instead of reading beyond.
//! The bytes are those that `export_runner.formats` makes with polars; the tests hold one against the other.

const std = @import("std");
const copy = @import("copy.zig");
const moments = @import("moments.zig");
const floats = @import("floats.zig");

const Kind = copy.Kind;
const Quoting = enum(u8) { needed = 0, texts, all };

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
    out: [*]u8,
    out_size: usize,
    row: usize,
    offset: usize,
    written: usize,
    /// The kind of a value that is as wide as none of its kind.
    wrong: u8,
};

const Problem = copy.Problem || error{Full};

const Out = struct {
    buffer: []u8,
    at: usize,

    fn add(self: *Out, bytes: []const u8) Problem!void {
        if (self.buffer.len - self.at < bytes.len) return error.Full;
        @memcpy(self.buffer[self.at..][0..bytes.len], bytes);
        self.at += bytes.len;
    }

    fn byte(self: *Out, value: u8) Problem!void {
        if (self.at == self.buffer.len) return error.Full;
        self.buffer[self.at] = value;
        self.at += 1;
    }
};

pub fn run(job: *Job) copy.Status {
    const data = job.data[0..job.data_size];
    var out = Out{ .buffer = job.out[0..job.out_size], .at = 0 };
    job.written = 0;
    while (job.row < job.rows) {
        const row = copy.row(data, job.offset, job.lengths[job.row]) orelse return .beyond;
        line(job, row, &out) catch |problem| return switch (problem) {
            error.Full => .full,
            else => |other| copy.status(other),
        };
        job.row += 1;
        job.offset += row.len;
        job.written = out.at;
    }
    return .done;
}

fn line(job: *Job, row: []const u8, out: *Out) Problem!void {
    var fields = try copy.Fields.of(row, job.fields);
    for (0..job.fields) |number| {
        const kind: Kind = @enumFromInt(job.kinds[number]);
        const value = fields.next(kind) catch |problem| {
            job.wrong = job.kinds[number];
            return problem;
        };
        if (job.keys) |keys| {
            const first = if (number == 0) 0 else job.key_ends[number - 1];
            try out.add(keys[first..job.key_ends[number]]);
            if (value) |bytes| try jsonValue(kind, bytes, out) else try out.add("null");
        } else {
            if (number > 0) try out.byte(job.delimiter);
            if (value) |bytes| try csvCell(job, kind, bytes, out) else try out.add(job.null_text[0..job.null_size]);
        }
    }
    try fields.end();
    if (job.keys != null) try out.byte('}');
    try out.add(job.line_end[0..job.line_end_size]);
}

fn isNumber(kind: Kind) bool {
    return switch (kind) {
        .bool, .int2, .int4, .int8, .oid, .float4, .float8, .numeric => true,
        else => false,
    };
}

/// The value as text, as long as it does not come as text itself.
fn written(kind: Kind, bytes: []const u8, style: moments.Style, buffer: *[64]u8) []const u8 {
    return switch (kind) {
        .bool => if (bytes[0] != 0) "true" else "false",
        .int2 => integer(std.mem.readInt(i16, bytes[0..2], .big), buffer),
        .int4 => integer(std.mem.readInt(i32, bytes[0..4], .big), buffer),
        .int8 => integer(std.mem.readInt(i64, bytes[0..8], .big), buffer),
        .oid => integer(std.mem.readInt(u32, bytes[0..4], .big), buffer),
        .float4 => floats.write(f32, @bitCast(std.mem.readInt(u32, bytes[0..4], .big)), buffer),
        .float8 => floats.write(f64, @bitCast(std.mem.readInt(u64, bytes[0..8], .big)), buffer),
        .date => moments.date(std.mem.readInt(i32, bytes[0..4], .big), buffer),
        .timestamp => moments.timestamp(std.mem.readInt(i64, bytes[0..8], .big), style, "", buffer),
        .timestamptz => moments.timestamp(std.mem.readInt(i64, bytes[0..8], .big), style, style.utc, buffer),
        .uuid => uuid(bytes[0..16], buffer),
        .text, .json, .jsonb, .bytea, .numeric => unreachable,
    };
}

const pairs = blk: {
    var table: [200]u8 = undefined;
    for (0..100) |number| {
        table[2 * number] = '0' + number / 10;
        table[2 * number + 1] = '0' + number % 10;
    }
    break :blk table;
};

fn integer(value: anytype, buffer: *[64]u8) []const u8 {
    var rest: u64 = if (value < 0) @as(u64, 0) -% @as(u64, @bitCast(@as(i64, @intCast(value)))) else @intCast(value);
    var at: usize = buffer.len;
    while (rest >= 100) {
        const two: usize = @intCast(rest % 100);
        rest /= 100;
        at -= 2;
        buffer[at..][0..2].* = pairs[2 * two ..][0..2].*;
    }
    if (rest >= 10) {
        at -= 2;
        buffer[at..][0..2].* = pairs[2 * @as(usize, @intCast(rest)) ..][0..2].*;
    } else {
        at -= 1;
        buffer[at] = '0' + @as(u8, @intCast(rest));
    }
    if (value < 0) {
        at -= 1;
        buffer[at] = '-';
    }
    return buffer[at..];
}

const hex_digits = "0123456789abcdef";

fn uuid(bytes: *const [16]u8, buffer: *[64]u8) []const u8 {
    var at: usize = 0;
    for (bytes, 0..) |each, number| {
        if (number == 4 or number == 6 or number == 8 or number == 10) {
            buffer[at] = '-';
            at += 1;
        }
        buffer[at] = hex_digits[each >> 4];
        buffer[at + 1] = hex_digits[each & 15];
        at += 2;
    }
    return buffer[0..at];
}

fn hex(bytes: []const u8, out: *Out) Problem!void {
    if (out.buffer.len - out.at < 2 * bytes.len) return error.Full;
    for (bytes) |each| {
        out.buffer[out.at] = hex_digits[each >> 4];
        out.buffer[out.at + 1] = hex_digits[each & 15];
        out.at += 2;
    }
}

fn csvCell(job: *const Job, kind: Kind, bytes: []const u8, out: *Out) Problem!void {
    const quoting: Quoting = @enumFromInt(job.quoting);
    const always = quoting == .all or (quoting == .texts and !isNumber(kind));
    const null_text = job.null_text[0..job.null_size];
    switch (kind) {
        .text, .json, .jsonb, .numeric => {
            const text = if (kind == .jsonb) bytes[1..] else bytes;
            if (always or std.mem.eql(u8, text, null_text) or isSpecial(text, job.delimiter)) {
                try csvQuoted(text, out);
            } else try out.add(text);
        },
        .bytea => {
            const begun = out.at;
            if (always) try out.byte('"');
            try out.add("\\x");
            try hex(bytes, out);
            if (always) {
                try out.byte('"');
            } else if (std.mem.eql(u8, out.buffer[begun..out.at], null_text)) {
                out.at = begun;
                try csvQuoted(null_text, out);
            }
        },
        else => {
            var buffer: [64]u8 = undefined;
            const text = written(kind, bytes, moments.postgresql, &buffer);
            if (always or std.mem.eql(u8, text, null_text)) try csvQuoted(text, out) else try out.add(text);
        },
    }
}

const Lanes = @Vector(16, u8);

fn isSpecial(text: []const u8, delimiter: u8) bool {
    var at: usize = 0;
    while (text.len - at >= 16) : (at += 16) {
        const lanes: Lanes = text[at..][0..16].*;
        const found = @intFromBool(lanes == @as(Lanes, @splat(delimiter))) |
            @intFromBool(lanes == @as(Lanes, @splat('"'))) |
            @intFromBool(lanes == @as(Lanes, @splat('\n'))) |
            @intFromBool(lanes == @as(Lanes, @splat('\r')));
        if (@reduce(.Or, found) != 0) return true;
    }
    for (text[at..]) |each| {
        if (each == delimiter or each == '"' or each == '\n' or each == '\r') return true;
    }
    return false;
}

fn csvQuoted(text: []const u8, out: *Out) Problem!void {
    try out.byte('"');
    var rest = text;
    while (std.mem.indexOfScalar(u8, rest, '"')) |at| {
        try out.add(rest[0 .. at + 1]);
        try out.byte('"');
        rest = rest[at + 1 ..];
    }
    try out.add(rest);
    try out.byte('"');
}

fn jsonValue(kind: Kind, bytes: []const u8, out: *Out) Problem!void {
    switch (kind) {
        .text => {
            try out.byte('"');
            try jsonEscaped(bytes, out);
            try out.byte('"');
        },
        .jsonb => try out.add(bytes[1..]),
        .json => {
            const begun = out.at;
            try out.add(bytes);
            // A line break in json stands between tokens only.
            for (out.buffer[begun..out.at]) |*each| {
                if (each.* == '\n' or each.* == '\r') each.* = ' ';
            }
        },
        .numeric => {
            if (isWord(bytes)) try quoted(bytes, out) else try out.add(bytes);
        },
        .bytea => {
            try out.add("\"\\\\x");
            try hex(bytes, out);
            try out.byte('"');
        },
        else => {
            var buffer: [64]u8 = undefined;
            const text = written(kind, bytes, moments.rfc3339, &buffer);
            const bare = isNumber(kind) and !isWord(text);
            if (bare or kind == .bool) try out.add(text) else try quoted(text, out);
        },
    }
}

fn isWord(text: []const u8) bool {
    return std.mem.eql(u8, text, "NaN") or std.mem.eql(u8, text, "Infinity") or std.mem.eql(u8, text, "-Infinity");
}

fn quoted(text: []const u8, out: *Out) Problem!void {
    try out.byte('"');
    try out.add(text);
    try out.byte('"');
}

fn jsonEscaped(text: []const u8, out: *Out) Problem!void {
    var at: usize = 0;
    while (at < text.len) {
        const plain = jsonPlain(text[at..]);
        try out.add(text[at..][0..plain]);
        at += plain;
        if (at == text.len) return;
        const each = text[at];
        at += 1;
        switch (each) {
            '"' => try out.add("\\\""),
            '\\' => try out.add("\\\\"),
            '\n' => try out.add("\\n"),
            '\r' => try out.add("\\r"),
            '\t' => try out.add("\\t"),
            8 => try out.add("\\b"),
            12 => try out.add("\\f"),
            else => {
                try out.add("\\u00");
                try hex(&.{each}, out);
            },
        }
    }
}

/// How many bytes from the beginning need no escape.
fn jsonPlain(text: []const u8) usize {
    var at: usize = 0;
    while (text.len - at >= 16) : (at += 16) {
        const lanes: Lanes = text[at..][0..16].*;
        const found = @intFromBool(lanes < @as(Lanes, @splat(32))) |
            @intFromBool(lanes == @as(Lanes, @splat('"'))) |
            @intFromBool(lanes == @as(Lanes, @splat('\\')));
        if (@reduce(.Or, found) != 0) break;
    }
    while (at < text.len and text[at] >= 32 and text[at] != '"' and text[at] != '\\') at += 1;
    return at;
}
