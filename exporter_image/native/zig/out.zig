//! Where lines are written, and short copies in place: most values are shorter than a call of memcpy takes.

const std = @import("std");

pub const Full = error{Full};
pub const Lanes = @Vector(16, u8);

/// Bytes that a value other than text takes at most.
pub const longest = 64;

/// All of it is inlined, and nothing else gets its address, so that `at` stays in a register: what writes more than a few
/// bytes gets the room, and says how many it took.
pub const Out = struct {
    buffer: []u8,
    at: usize,

    /// What is left, which is at least so many bytes.
    pub inline fn room(self: *const Out, least: usize) Full![]u8 {
        const rest = self.buffer[self.at..];
        return if (rest.len < least) error.Full else rest;
    }

    pub inline fn byte(self: *Out, value: u8) Full!void {
        (try self.room(1))[0] = value;
        self.at += 1;
    }

    pub inline fn add(self: *Out, bytes: []const u8) Full!void {
        copy((try self.room(bytes.len))[0..bytes.len], bytes);
        self.at += bytes.len;
    }
};

/// Both of one length.
fn copy(to: []u8, from: []const u8) void {
    const count = from.len;
    if (count > 32) {
        @memcpy(to, from);
    } else if (count >= 16) {
        overlapping(16, to, from);
    } else if (count >= 8) {
        overlapping(8, to, from);
    } else if (count >= 4) {
        overlapping(4, to, from);
    } else for (to, from) |*each, value| {
        each.* = value;
    }
}

/// The first and the last `width` bytes, which meet in the middle.
inline fn overlapping(comptime width: usize, to: []u8, from: []const u8) void {
    const first = from[0..width].*;
    const last = from[from.len - width ..][0..width].*;
    to[0..width].* = first;
    to[to.len - width ..][0..width].* = last;
}
