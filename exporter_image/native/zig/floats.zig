//! Floats as the shortest text that reads back the same, laid out as polars does; NaN and infinities as PostgreSQL.

const std = @import("std");

/// Up to so many digits before the point, and so many zeros behind it, are written out; past that with an exponent.
const Layout = struct { before: i32, behind: i32 };

pub fn write(comptime T: type, value: T, buffer: *[64]u8) []const u8 {
    if (std.math.isNan(value)) return "NaN";
    if (std.math.isInf(value)) return if (value > 0) "Infinity" else "-Infinity";
    if (value == 0) return if (std.math.signbit(value)) "-0.0" else "0.0";
    var scientific: [64]u8 = undefined;
    const text = std.fmt.float.render(&scientific, @abs(value), .{ .mode = .scientific }) catch unreachable;
    const mark = std.mem.indexOfScalar(u8, text, 'e').?;
    const exponent = std.fmt.parseInt(i32, text[mark + 1 ..], 10) catch unreachable;
    // d.ddd or d: the digits without the point.
    var digits: [32]u8 = undefined;
    digits[0] = text[0];
    var count: usize = 1;
    if (mark > 2) {
        @memcpy(digits[1..][0 .. mark - 2], text[2..mark]);
        count = mark - 1;
    }
    var out = Writer{ .buffer = buffer };
    if (value < 0) out.add("-");
    const layout: Layout = if (T == f32) .{ .before = 13, .behind = -6 } else .{ .before = 16, .behind = -5 };
    const point = exponent + 1; // digits before the point
    const held: i32 = @intCast(count);
    if (held <= point and point <= layout.before) {
        out.add(digits[0..count]);
        out.zeros(@intCast(point - held));
        out.add(".0");
    } else if (0 < point and point <= layout.before) {
        out.add(digits[0..@intCast(point)]);
        out.add(".");
        out.add(digits[@intCast(point)..count]);
    } else if (layout.behind < point and point <= 0) {
        out.add("0.");
        out.zeros(@intCast(-point));
        out.add(digits[0..count]);
    } else {
        out.add(digits[0..1]);
        if (count > 1) {
            out.add(".");
            out.add(digits[1..count]);
        }
        out.add(if (exponent < 0) "e" else "e+");
        out.add(text[mark + 1 ..]);
    }
    return buffer[0..out.at];
}

const Writer = struct {
    buffer: *[64]u8,
    at: usize = 0,

    fn add(self: *Writer, text: []const u8) void {
        @memcpy(self.buffer[self.at..][0..text.len], text);
        self.at += text.len;
    }

    fn zeros(self: *Writer, count: usize) void {
        @memset(self.buffer[self.at..][0..count], '0');
        self.at += count;
    }
};
