//! Where lines are written, and short copies in place: most values are shorter than a call of memcpy takes.

const std = @import("std");

pub const Full = error{Full};

/// Bytes that a value other than text takes at most.
pub const longest = 64;

/// All of it is inlined, and nothing else gets its address, so that `at` stays in a register: what writes more than a few
/// bytes gets what is left, and says how many it took.
pub const Out = struct {
    buffer: []u8,
    at: usize,

    pub inline fn left(self: *const Out) []u8 {
        return self.buffer[self.at..];
    }

    /// Room for any value other than text; `at` goes on when it is known how long the value is.
    pub inline fn place(self: *const Out) Full!*[longest]u8 {
        const room = self.left();
        return if (room.len < longest) error.Full else room[0..longest];
    }

    pub inline fn byte(self: *Out, value: u8) Full!void {
        const room = self.left();
        if (room.len == 0) return error.Full;
        room[0] = value;
        self.at += 1;
    }

    pub inline fn add(self: *Out, bytes: []const u8) Full!void {
        const room = self.left();
        if (room.len < bytes.len) return error.Full;
        copy(room[0..bytes.len], bytes);
        self.at += bytes.len;
    }
};

/// The text at `at`; says where it ends.
pub fn put(buffer: *[longest]u8, at: usize, text: []const u8) usize {
    @memcpy(buffer[at..][0..text.len], text);
    return at + text.len;
}

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
