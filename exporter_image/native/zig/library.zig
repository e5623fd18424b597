//! What `export_native` calls by ctypes.

const std = @import("std");
const rows = @import("rows.zig");
const text = @import("text.zig");
const columns = @import("columns.zig");
const texts = @import("texts.zig");

/// Changes with the layout of a `Job` or `Drain` or the meaning of a number, so that a stale library is not called.
export const export_native_version: u32 = 4;

export fn export_text(job: *text.Job) i32 {
    return @backingInt(text.run(job));
}

export fn export_columns(job: *columns.Job) i32 {
    return @backingInt(columns.run(job));
}

export fn export_texts(job: *texts.Job) i32 {
    return @backingInt(texts.run(job));
}

export fn export_drain(drain: *rows.Drain) i32 {
    return @backingInt(rows.run(drain));
}
