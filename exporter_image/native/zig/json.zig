//! Values of JSON.

const std = @import("std");
const moments = @import("moments.zig");
const values = @import("values.zig");
const output = @import("out.zig");

const Kind = @import("copy.zig").Kind;
const Out = output.Out;

pub inline fn value(comptime kind: Kind, bytes: []const u8, out: *Out) output.Full!void {
    switch (kind) {
        .text => {
            try out.byte('"');
            out.at += try escaped(bytes, out.left());
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
            const word = isWord(bytes);
            if (word) try out.byte('"');
            try out.add(bytes);
            if (word) try out.byte('"');
        },
        .bytea => {
            try out.add("\"\\\\x");
            out.at += try values.hex(bytes, out.left());
            try out.byte('"');
        },
        .bool, .int2, .int4, .int8, .oid => {
            out.at += values.write(kind, bytes, moments.rfc3339, try out.place()).len;
        },
        .float4, .float8 => {
            const text = values.write(kind, bytes, moments.rfc3339, try out.place());
            if (isWord(text)) {
                var kept: [output.longest]u8 = undefined;
                @memcpy(kept[0..text.len], text);
                try out.byte('"');
                try out.add(kept[0..text.len]);
                try out.byte('"');
            } else out.at += text.len;
        },
        .date, .timestamp, .timestamptz, .uuid => {
            try out.byte('"');
            out.at += values.write(kind, bytes, moments.rfc3339, try out.place()).len;
            try out.byte('"');
        },
        .decimal, .array => unreachable,
    }
}

fn isWord(text: []const u8) bool {
    return std.mem.eql(u8, text, "NaN") or std.mem.eql(u8, text, "Infinity") or std.mem.eql(u8, text, "-Infinity");
}

/// Says how many bytes it took.
fn escaped(text: []const u8, room: []u8) output.Full!usize {
    var out = Out{ .buffer = room, .at = 0 };
    var at: usize = 0;
    while (true) {
        const end = plain(text, at);
        try out.add(text[at..end]);
        if (end == text.len) return out.at;
        at = end + 1;
        switch (text[end]) {
            '"' => try out.add("\\\""),
            '\\' => try out.add("\\\\"),
            '\n' => try out.add("\\n"),
            '\r' => try out.add("\\r"),
            '\t' => try out.add("\\t"),
            8 => try out.add("\\b"),
            12 => try out.add("\\f"),
            else => |each| {
                try out.add("\\u00");
                out.at += try values.hex(&.{each}, out.left());
            },
        }
    }
}

/// Where the first byte is, from `begin` on, that needs an escape; the text's end if none does.
fn plain(text: []const u8, begin: usize) usize {
    var at = begin;
    while (text.len - at >= 16) : (at += 16) {
        const found = escapes(16, text[at..]);
        if (found != 0) return at + @ctz(found);
    }
    const left = text.len - at;
    if (left == 0) return at;
    // The last bytes once more, without those that were looked at.
    if (text.len >= 16) return first(escapes(16, text[text.len - 16 ..]) >> @intCast(16 - left), at, text.len);
    if (text.len >= 8 and left <= 8) return first(escapes(8, text[text.len - 8 ..]) >> @intCast(8 - left), at, text.len);
    while (at < text.len and text[at] >= 32 and text[at] != '"' and text[at] != '\\') at += 1;
    return at;
}

inline fn first(found: anytype, at: usize, end: usize) usize {
    return if (found == 0) end else at + @ctz(found);
}

inline fn escapes(comptime width: usize, text: []const u8) @Int(.unsigned, width) {
    const T = @Vector(width, u8);
    const lanes: T = text[0..width].*;
    return @bitCast((lanes < @as(T, @splat(32))) | (lanes == @as(T, @splat('"'))) | (lanes == @as(T, @splat('\\'))));
}
