//! Floats as the shortest text that reads back the same, laid out as polars does; NaN and infinities as PostgreSQL.

const std = @import("std");
const numbers = @import("numbers.zig");
const output = @import("out.zig");

/// Up to so many digits before the point, and so many zeros behind it, are written out; past that with an exponent.
const Layout = struct { before: i32, behind: i32 };

/// Written from the beginning of `buffer` on; says how many bytes.
pub fn write(comptime T: type, value: T, buffer: *[output.longest]u8) usize {
    if (std.math.isNan(value)) return output.put(buffer, 0, "NaN");
    var out = Writer{ .buffer = buffer };
    if (std.math.signbit(value)) out.add("-");
    if (std.math.isInf(value)) return output.put(buffer, out.at, "Infinity");
    if (value == 0) return output.put(buffer, out.at, "0.0");
    if (short(T, @abs(value), buffer[out.at..])) |length| return out.at + length;
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
    return out.at;
}

/// Values with few digits, as prices and counts are: null for others.
///
/// A whole number and a power of ten that are both exact in T, divided, are the float nearest to that decimal (Clinger,
/// "How to Read Floating Point Numbers Accurately", 1990). If that is the value, the decimal reads back as it; and of
/// decimals with no more than DBL_DIG (15) or FLT_DIG (6) digits no two read as the same float, so none is shorter.
fn short(comptime T: type, value: T, buffer: []u8) ?usize {
    const places = if (T == f32) 3 else 6;
    const power = if (T == f32) 1e3 else 1e6;
    const most = if (T == f32) 1e6 else 1e15;
    const scaled = @round(value * power);
    if (value < 1e-5 or scaled >= most or scaled / power != value) return null;
    const whole: u64 = @intFromFloat(scaled);
    const before = numbers.write(buffer, whole / @as(u64, power));
    var behind: usize = places;
    buffer[before] = '.';
    numbers.fill(buffer[before + 1 ..][0..places], whole % @as(u64, power));
    while (behind > 1 and buffer[before + behind] == '0') behind -= 1;
    return before + 1 + behind;
}

const Writer = struct {
    buffer: *[output.longest]u8,
    at: usize = 0,

    fn add(self: *Writer, text: []const u8) void {
        self.at = output.put(self.buffer, self.at, text);
    }

    fn zeros(self: *Writer, count: usize) void {
        @memset(self.buffer[self.at..][0..count], '0');
        self.at += count;
    }
};
