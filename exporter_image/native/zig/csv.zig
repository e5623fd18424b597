//! Values as cells of CSV.

const std = @import("std");
const moments = @import("moments.zig");
const values = @import("values.zig");
const output = @import("out.zig");

const Kind = @import("copy.zig").Kind;
const Out = output.Out;
const step = 16;
const Lanes = @Vector(step, u8);

pub const Quoting = enum(u8) { needed = 0, texts, all };

pub const Dialect = struct {
    null_text: []const u8,
    delimiter: u8,
    quoting: Quoting,

    /// Whether a text looks like NULL.
    inline fn isNull(self: *const Dialect, text: []const u8) bool {
        return text.len == self.null_text.len and std.mem.eql(u8, text, self.null_text);
    }
};

pub inline fn cell(dialect: *const Dialect, comptime kind: Kind, bytes: []const u8, out: *Out) output.Full!void {
    const always = dialect.quoting == .all or (dialect.quoting == .texts and !values.isNumber(kind));
    switch (kind) {
        .text, .json, .jsonb => {
            const text = if (kind == .jsonb) bytes[1..] else bytes;
            if (always or dialect.isNull(text) or isSpecial(text, dialect.delimiter)) {
                out.at += try quoted(text, out.left());
            } else try out.add(text);
        },
        .numeric => {
            // No delimiter stands in a number: `COMPILED_DELIMITERS` of export_runner.formats.csv.
            if (always or dialect.isNull(bytes)) out.at += try quoted(bytes, out.left()) else try out.add(bytes);
        },
        .bytea => {
            const begun = out.at;
            if (always) try out.byte('"');
            try out.add("\\x");
            out.at += try values.hex(bytes, out.left());
            if (always) {
                try out.byte('"');
            } else if (dialect.isNull(out.buffer[begun..out.at])) {
                out.at = begun;
                out.at += try quoted(dialect.null_text, out.left());
            }
        },
        else => {
            if (always) try out.byte('"');
            const text = values.write(kind, bytes, moments.postgresql, try out.place());
            if (!always and dialect.isNull(text)) {
                out.at += try quoted(dialect.null_text, out.left());
            } else out.at += text.len;
            if (always) try out.byte('"');
        },
    }
}

/// Whether a cell of this text stands in quotes.
fn isSpecial(text: []const u8, delimiter: u8) bool {
    const count = text.len;
    if (count >= 16) {
        var at: usize = 0;
        while (count - at > 16) : (at += 16) {
            if (anyOf(16, text[at..], delimiter)) return true;
        }
        return anyOf(16, text[count - 16 ..], delimiter);
    }
    // The first and the last, which meet in the middle.
    if (count >= 8) return anyOf(8, text, delimiter) or anyOf(8, text[count - 8 ..], delimiter);
    for (text) |each| {
        if (each == delimiter or each == '"' or each == '\n' or each == '\r') return true;
    }
    return false;
}

inline fn anyOf(comptime width: usize, text: []const u8, delimiter: u8) bool {
    const T = @Vector(width, u8);
    const lanes: T = text[0..width].*;
    return @reduce(.Or, (lanes == @as(T, @splat(delimiter))) | (lanes == @as(T, @splat('"'))) |
        (lanes == @as(T, @splat('\n'))) | (lanes == @as(T, @splat('\r'))));
}

fn quoted(text: []const u8, room: []u8) output.Full!usize {
    // As much as it can take, and a step more, so that nothing is asked byte by byte.
    if (room.len < 2 * text.len + 2 + 2 * step) return error.Full;
    room[0] = '"';
    var to: usize = 1;
    var at: usize = 0;
    while (text.len - at >= step) : (at += step) {
        const lanes: Lanes = text[at..][0..step].*;
        if (@reduce(.Or, lanes == @as(Lanes, @splat('"')))) {
            to += doubled(text[at..][0..step], room[to..]);
        } else {
            room[to..][0..step].* = lanes;
            to += step;
        }
    }
    to += doubled(text[at..], room[to..]);
    room[to] = '"';
    return to + 1;
}

/// Up to `step` bytes, quotes twice. Says how many bytes they become.
inline fn doubled(text: []const u8, room: []u8) usize {
    const short = room[0 .. 2 * step];
    var to: usize = 0;
    for (text) |each| {
        // Twice in any case: what is no quote is written over by the next.
        short[to..][0..2].* = @bitCast(@as(u16, each) * 0x0101);
        to += 1 + @as(usize, @intFromBool(each == '"'));
    }
    return to;
}
